"""Settings of a method as records of schema 1 hold them, in their present form.

Only settings that bear on the numbers remain, as in ``adbench.system.settings.settings_of``.
"""

from typing import Any

SCIPY_RADIUS = 4.0
"""Sigmas that a Gaussian reaches where no radius is set."""


def present_settings(method: dict[str, Any]) -> dict[str, Any]:
    """The class and the present settings of a method, from those of schema 1."""
    settings = {**method["settings"], "layers": sorted(method["settings"]["layers"])}
    change = {"PatchCore": _patchcore, "CRD": _crd, "PaDiM": _padim}.get(method["class"])
    if change is not None:
        settings = change(settings)
    settings["anomaly_map"] = _anomaly_map(settings["anomaly_map"])
    return {"class": method["class"], "settings": settings}


def _patchcore(old: dict[str, Any]) -> dict[str, Any]:
    k, map_k, b = old.pop("k"), old.pop("map_k"), old.pop("b")
    kind = old.pop("embedding")
    coreset = _coreset({name: old.pop(name) for name in _CORESET})
    new = {**old, "embedding": _embedding(kind, old), "map_k": k if map_k is None else map_k}
    if old["ratio"] < 1:
        new["coreset"] = coreset
    include_self = new.pop("include_self")
    if old["reweight"] != "none":
        new |= {"b": k if b is None else b, "include_self": include_self}
    return _without(new, _EMBEDDING)


def _crd(old: dict[str, Any]) -> dict[str, Any]:
    ratio, seed = old.pop("ratio"), old.pop("seed")
    new = {**old, "embedding": _embedding("concat", old)}
    if old["bank"] == "coreset":
        selection = {"projection": "gaussian", "dim": 128, "eps": 0.9, "start": "first"}
        new |= {
            "ratio": ratio,
            "coreset": _coreset({"sampler": "greedy", **selection, "seed": seed}),
        }
    return _without(new, _EMBEDDING)


def _padim(old: dict[str, Any]) -> dict[str, Any]:
    return _without(old, ("dims", "seed")) if old["reduction"] == "none" else old


_CORESET = ("sampler", "projection", "dim", "eps", "start", "seed")
_EMBEDDING = ("patch", "pool_padding", "upsample")


def _coreset(old: dict[str, Any]) -> dict[str, Any]:
    greedy, projection = old["sampler"] == "greedy", old["projection"]
    unread = set() if greedy else {"projection", "start"}
    unread |= set() if greedy and projection == "gaussian" else {"dim"}
    unread |= set() if greedy and projection == "jl_sparse" else {"eps"}
    if greedy and projection == "none" and old["start"] == "first":
        unread.add("seed")
    return _without(old, unread)


def _embedding(kind: str, old: dict[str, Any]) -> dict[str, Any]:
    new = {"kind": kind, **{name: old[name] for name in _EMBEDDING}}
    pools = kind == "concat" and old["patch"] > 1
    return new if pools else _without(new, ("pool_padding",))


def _anomaly_map(old: dict[str, Any]) -> dict[str, Any]:
    """A radius of 4 sigma is the default's; without a blur neither radius nor edge are read."""
    if old["sigma"] == 0:
        return _without(old, ("radius", "edge"))
    default = old["radius"] == int(SCIPY_RADIUS * old["sigma"] + 0.5)
    return {**old, "radius": None} if default else old


def _without(settings: dict[str, Any], names: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}
