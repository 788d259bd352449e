"""Networks as folders and Hugging Face repositories: config.json, model.safetensors, README.md.

config.json speaks three languages: the block `slowfast_hub` is the description that is read back, the same as in the
header of model.safetensors; the other keys repeat parts of it for readers of timm's and of transformers' configs.
Only these two files are read, so nothing in a foreign repository can run.

`HF_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` and the token are huggingface_hub's business.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from slowfast_hub.models import VideoModel, build
from slowfast_hub.spec import Arch, Hosted
from slowfast_hub.zoo.cache import sha256_of
from slowfast_hub.zoo.card import model_card, to_config
from slowfast_hub.zoo.describe import Description, from_json, read_header, to_header
from slowfast_hub.zoo.fetch import weights_path
from slowfast_hub.zoo.load import LoadError, load_weights, mismatches, shorten
from slowfast_hub.zoo.manifest import arch_changes, labels_of
from slowfast_hub.zoo.registry import ARCHS, find_arch, override, weights_info
from slowfast_hub.zoo.save import save_tensors, whole_file

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
WRITTEN = f"save_pretrained and push_to_hub write {CONFIG} and one {WEIGHTS}; pickles and sharded files are not opened"
MAX_CONFIG = 4 << 20  # bytes: thousands of classes fit, a file that fills the memory does not
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
HUB, FOLDER = "hf-hub:", "local-dir:"


@dataclass(frozen=True)
class HubSource:
    """What a name with a prefix means: the `source` and `revision` of `find_pretrained`."""

    name: str  # "hf-hub:org/name" or "local-dir:folder": with its prefix, so that neither is taken for the other
    revision: str | None


@dataclass(frozen=True)
class Published:
    """What `publish` wrote, and what the manifest shall say of it."""

    folder: Path
    hosted: Hosted


def hub_source(name: str) -> HubSource | None:
    """`"hf-hub:org/name[@revision]"` (or `hf_hub:`) and `"local-dir:folder"`; None for the name of a network."""
    place, colon, rest = spelt(name).partition(":")
    if place + colon == FOLDER and rest:
        return HubSource(name, None)
    if place + colon == HUB:
        repo, at, revision = rest.partition("@")
        if REPO_ID.fullmatch(repo) and bool(at) == bool(revision):
            return HubSource(HUB + repo, revision or None)
    if place + colon in (HUB, FOLDER):
        raise ValueError(f"{name!r} should be '{HUB}org/name', '{HUB}org/name@revision' or '{FOLDER}folder'")
    if "/" in name:
        raise ValueError(f"{name!r} is no name of a network; write '{HUB}{name}' or '{FOLDER}{name}'")
    return None


def spelt(source: str) -> str:
    """timm's other spelling of the prefix."""
    return HUB + source.removeprefix("hf_hub:") if source.startswith("hf_hub:") else source


def find_pretrained(source: str, *, revision: str | None) -> tuple[Description, Path]:
    """The description of a network and the file of its weights, from a folder or a repository on the Hub.

    source: a folder, `"org/name"`, or either with its prefix. Without a prefix a folder is meant if it holds a
    config.json or cannot be the name of a repository; a folder `org/name` without one does not hide the repository.
    revision: a branch, tag or commit. Both files are of one commit, also when someone pushes in between.

    Errors: FileNotFoundError, LoadError, and huggingface_hub's own for a repository that cannot be had.
    """
    source = spelt(source)
    if not source.removeprefix(HUB).removeprefix(FOLDER):
        raise ValueError(f"from_pretrained needs 'org/name' or a folder; got {source!r}")
    folder = local_folder(source)
    if folder is None:
        description, weights = from_hub(source.removeprefix(HUB), revision)
    elif revision is not None:
        raise ValueError(f"{source!r} is a folder, so it has no revision {revision!r}")
    else:
        description, weights = read_config(folder / CONFIG), folder / WEIGHTS
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: no such file; {WRITTEN}")
    if read_header(weights) not in (None, description):
        raise LoadError(f"{weights}: its header and {CONFIG} describe two networks; fetch or save both files again")
    return description, weights


def local_folder(source: str) -> Path | None:
    """The folder that `source` means; None when it is on the Hub."""
    if source.startswith(HUB):
        return None
    folder = Path(os.path.expanduser(source.removeprefix(FOLDER)))
    on_hub = REPO_ID.fullmatch(source) and not (folder / CONFIG).is_file()
    return None if on_hub else folder


def from_hub(repo: str, revision: str | None) -> tuple[Description, Path]:
    """The description first: a repository of another kind is refused before its weights are fetched."""
    if not REPO_ID.fullmatch(repo):
        raise ValueError(f"a repository is called 'org/name', and its revision is passed apart; got {repo!r}")
    try:
        config = download(repo, CONFIG, revision)
        description = read_config(config)
        # The folder of a cached file is its commit; asked by it, the weights are of that commit too.
        weights = download(repo, WEIGHTS, config.parent.name)
    except OSError as error:  # huggingface_hub's errors are OSErrors as well
        if Path(repo).is_dir():
            error.add_note(f"the folder {repo} exists, but holds no {CONFIG}")
        raise
    check_digest(weights)
    return description, weights


def download(repo: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    where = f"{repo}@{revision}" if revision else repo
    try:
        return Path(hf_hub_download(repo, file, revision=revision, library_name="slowfast_hub"))
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{where}: {file} is not in the cache of huggingface_hub and the Hub was not reached "
            f"({error.__cause__ or error}); load it once while online, or copy HF_HOME from where it was loaded"
        ) from error
    except RemoteEntryNotFoundError as error:
        raise FileNotFoundError(f"{where}: holds no {file}; {WRITTEN}") from error


def check_digest(path: Path) -> None:
    """huggingface_hub compares the length of a download and no more; large files are named by their SHA-256."""
    blob = Path(os.readlink(path)).name if path.is_symlink() else ""
    if re.fullmatch(r"[0-9a-f]{64}", blob) and sha256_of(path) != blob:
        raise LoadError(f"{path}: these are not the bytes the Hub promised; delete {path.resolve()} and load again")


def read_config(path: Path) -> Description:
    """The description in a config.json, which anyone may have written."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {WRITTEN}")
    if path.stat().st_size > MAX_CONFIG:
        raise LoadError(f"{path}: {path.stat().st_size} bytes; a {CONFIG} has at most {MAX_CONFIG}")
    try:
        config = json.loads(path.read_bytes())
        block = config.get("slowfast_hub") if isinstance(config, dict) else None
        if block is None:
            raise LoadError(f"{path}: describes no network of slowfast_hub; {WRITTEN}")
        return from_json(block)
    except LoadError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise LoadError(f"{path}: does not describe a network: {error}") from error


def save_pretrained(
    model: VideoModel,
    folder: str | Path,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    origin: dict[str, str] | None = None,
) -> Path:
    """Write a network as a folder that `from_pretrained` reads back, with bitwise equal logits; returns the folder.

    name: a row of the registry, or `row.tag`; by default the row whose network this is, up to its number of classes,
        else "custom".
    labels: names of the classes in index order, each of them once; by default `model.labels`.
    origin: where the weights come from, such as {"license": "MIT", "url": "https://..."}; the card tells it.

    A README.md that is there stays: someone may have written it.
    """
    description = described(model, name, labels, origin)
    return write_folder(model, description, None if (Path(folder) / CARD).exists() else model_card(description), folder)


def push_to_hub(
    model: VideoModel,
    repo_id: str,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    origin: dict[str, str] | None = None,
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    commit_message: str = "Push model using slowfast_hub",
    create_pr: bool = False,
) -> str:
    """Upload what `save_pretrained` writes in one commit; returns the address of the commit or pull request.

    repo_id: "org/name"; it is made when it is not there. private: None leaves it to the organisation's setting.
    branch: made when it is not there; by default "main".
    """
    description = described(model, name, labels, origin)
    with TemporaryDirectory() as temporary:
        folder = write_folder(model, description, model_card(description, repo=repo_id), temporary)
        _, address = upload(
            folder,
            repo_id,
            message=commit_message,
            private=private,
            token=token,
            branch=branch,
            create_pr=create_pr,
        )
    return address


def publish(
    name: str,
    folder: str | Path,
    *,
    repo: str | None = None,
    push: bool = False,
    private: bool | None = None,
    token: str | None = None,
) -> Published:
    """One record of the manifest as a Hub-ready folder; with `push`, uploaded to `repo` in one commit.

    name: `row.tag`. The file must fit the record, so nothing is published that `from_pretrained` would refuse. The
    `hosted` of the answer belongs into manifest.json once the folder is on the Hub.
    """
    if push and repo is None:
        raise ValueError("push needs repo='org/name'")
    info = weights_info(name)
    with torch.device("meta"):
        model = build(override(info.name, find_arch(info.arch), arch_changes(info)))
    load_weights(model, weights_path(info))
    told = {key: getattr(info.origin, key) for key in ("source", "license", "url", "note")}
    description = described(model, info.name, labels_of(info), {key: value for key, value in told.items() if value})
    path = write_folder(model, description, model_card(description, info, repo), folder)
    revision = None
    if push and repo is not None:
        revision, _ = upload(path, repo, message=f"Publish {info.name}", private=private, token=token)
    weights = path / WEIGHTS
    return Published(path, Hosted(WEIGHTS, repo, revision, sha256_of(weights), weights.stat().st_size))


def described(
    model: VideoModel, name: str | None, labels: Sequence[str] | None, origin: dict[str, str] | None
) -> Description:
    """What a file shall say of a network."""
    names = tuple(model.labels if labels is None else labels)
    if names and len(names) != model.num_classes:
        raise ValueError(f"the network has {model.num_classes} classes; got {len(names)} labels")
    twice = [label for label, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"labels name each class once; {', '.join(map(repr, twice[:5]))} come more than once")
    row = (name or "").partition(".")[0]
    if name is not None and row not in ARCHS and row != "custom":
        raise ValueError(f"name is a row of list_models(), row.tag, or 'custom'; got {name!r}")
    if row in ARCHS and type(ARCHS[row]) is not type(model.arch):
        raise ValueError(f"the network is no {row}: leave name out, or call it 'custom'")
    told = {key: value for key, value in (origin or {}).items() if value}
    return Description(name or row_of(model.arch), model.arch, names, told)


def row_of(arch: Arch) -> str:
    """The row of the registry that builds this network, up to its number of classes; else "custom"."""
    same = (row for row, known in ARCHS.items() if replace(known, num_classes=arch.num_classes) == arch)
    return next(same, "custom")


def write_folder(model: VideoModel, description: Description, card: str | None, folder: str | Path) -> Path:
    """The files of a folder, each of them whole or not there; a card of None is not written."""
    path = Path(folder)
    config = json.dumps(to_config(model, description), indent=2) + "\n"  # ASCII: any label, in any editor
    if len(config) > MAX_CONFIG:
        raise ValueError(f"{CONFIG} would have {len(config)} bytes and may have {MAX_CONFIG}: shorten the labels")
    # torch.compile puts its own name before the keys of what it compiled
    tensors = {key.replace("_orig_mod.", ""): value for key, value in model.state_dict().items()}
    with torch.device("meta"):
        problems = mismatches(build(description.arch).state_dict(), tensors)
    if problems:  # written, it could not be read back, and it may be the only copy
        raise ValueError(f"the network is not the one that its arch describes: {shorten(problems)}")
    save_tensors(tensors, path / WEIGHTS, metadata=to_header(description))
    for name, text in ((CONFIG, config), (CARD, card)):
        if text is not None:
            with whole_file(path / name) as partial:
                partial.write_text(text, encoding="utf-8")
    return path


def upload(
    folder: Path,
    repo: str,
    *,
    message: str,
    private: bool | None,
    token: str | None,
    branch: str | None = None,
    create_pr: bool = False,
) -> tuple[str, str]:
    """The three files in one commit: no reader finds the weights of one network beside the config of another.

    Returns the commit, and its address or that of the pull request.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token, library_name="slowfast_hub")
    api.create_repo(repo, private=private, exist_ok=True)
    if branch is not None:
        api.create_branch(repo, branch=branch, exist_ok=True)
    files = [CommitOperationAdd(file, folder / file) for file in (CONFIG, WEIGHTS, CARD)]
    done = api.create_commit(repo, files, commit_message=message, revision=branch, create_pr=create_pr)
    return done.oid, done.pr_url or done.commit_url
