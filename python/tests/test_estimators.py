"""Every estimator of scikit-learn is loaded and compared, or refused by name; the table of what works is written here.

`PET_WRITE_DOCS=1 pytest tests/test_estimators.py` (`make docs-estimators`) writes docs/estimators.md anew.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xaynet_sdk
from xaynet_sdk import LayoutError, flatten, unflatten

sklearn = pytest.importorskip("sklearn", minversion="1.6")
threadpoolctl = pytest.importorskip("threadpoolctl")
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "estimators.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
# What a model is asked: all of it that can be asked with samples alone.
OUTPUTS = (
    *("predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples", "transform"),
)  # fmt: skip


def data(seed: int) -> tuple[np.ndarray[Any, Any], list[Any]]:
    """Samples, and targets of every kind that an estimator may want."""
    rng = np.random.default_rng(seed)
    x = 5 * rng.random((90, 4))
    value = x @ (1 + 5 * rng.random(4)) + 0.1
    # As many of each class, and other ones with each seed.
    classes = np.argsort(np.argsort(x @ rng.normal(size=4))) // 30
    return x, [
        classes,
        value,
        np.c_[value, value**2],
        np.c_[classes == 1, classes == 2].astype(int),
    ]


def everything() -> Iterator[tuple[str, type[Any]]]:
    from sklearn.utils import all_estimators

    yield from all_estimators()


def made(cls: type[Any]) -> Any:
    """One with settings that suit the data; what is made of others is made of linear ones."""
    from sklearn.linear_model import LogisticRegression, Ridge

    inner: Any = Ridge() if "Regress" in cls.__name__ else LogisticRegression()
    for arguments in (
        {},
        {"estimator": inner},
        {"estimators": [("a", inner)]},
        {"estimator": inner, "param_grid": {}},
        {"estimator": inner, "param_distributions": {}},
        {"transformers": [("a", "passthrough", [0, 1])]},
        {"transformer_list": [("a", "passthrough")]},
        {"steps": [("a", inner)]},
        {"base_estimator": inner},
    ):
        try:
            return cls(**arguments)
        except TypeError:
            continue
    return None


def fitted(cls: type[Any], seed: int, target: int | None = None) -> tuple[Any, int]:
    """A fitted one, and with which kind of target."""
    x, targets = data(seed)
    # Regressors also take classes, and learn little from them.
    kinds = [1, 0, 2, 3] if "Regress" in str(cls.__mro__) else [0, 1, 2, 3]
    for kind in kinds if target is None else [target]:
        model = made(cls)
        if model is None:
            break
        # Well fitted or not: what they keep is the same.
        long = "CV" in cls.__name__ or "Dictionary" in cls.__name__
        if "max_iter" in model.get_params(deep=False) and long:
            model.set_params(max_iter=50)
        try:
            return model.fit(np.abs(x), targets[kind]), kind
        except Exception:
            continue
    return None, 0


def answers(model: Any, x: np.ndarray[Any, Any]) -> dict[str, Any]:
    found = {}
    for name in OUTPUTS:
        try:
            ask = getattr(model, name, None)
            if ask is not None:
                found[name] = np.asarray(ask(x))
        except Exception:
            continue
    return found


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return list(a) == list(b) and all(np.allclose(a[key], b[key], rtol=1e-6) for key in a)


def goes_on(model: Any, cls: type[Any], kind: int) -> str:
    """By which means training goes on from what was loaded; checked by training from two beginnings."""
    x, targets = data(3)
    ways = []
    if hasattr(model, "partial_fit"):
        ways.append(("partial_fit", {}))
    if "warm_start" in model.get_params(deep=False):
        ways.append(("warm_start", {"warm_start": True, "max_iter": 1}))
    for name, settings in ways:
        vector, layout = flatten(model, "float64")
        results = []
        for beginning in (vector, vector * 0.5 + 0.25):
            other = unflatten(beginning, layout, into=copy.deepcopy(model))
            other.set_params(**settings)
            train = other.partial_fit if name == "partial_fit" else other.fit
            train(x[:6], targets[kind][:6])
            results.append(layout.flatten(other))
        assert not np.allclose(*results, rtol=1e-9), f"{cls.__name__}: {name} starts anew"
    return ", ".join(f"`{name}`" for name, _ in ways)


def judged(cls: type[Any]) -> tuple[str, str]:
    """`works` and how training goes on, or `refused` and why, or `untried`."""
    model, kind = fitted(cls, 1)
    if model is None:
        return "untried", ""
    try:
        vector, layout = flatten(model, "float64")
    except LayoutError as error:
        return "refused", str(error)
    other, _ = fitted(cls, 2, kind)
    assert other is not None
    theirs, their_layout = flatten(other, "float64")
    assert their_layout == layout, f"{cls.__name__}: two of a kind have two layouts"
    x, _ = data(4)
    before, expected = answers(model, x), answers(other, x)
    assert before and not same(before, expected), f"{cls.__name__}: the two models must differ"
    assert unflatten(theirs, layout, into=model) is model
    assert same(answers(model, x), expected), (
        f"{cls.__name__}: its answers do not follow from the vector"
    )
    assert np.array_equal(layout.flatten(model), theirs), (
        f"{cls.__name__}: what is loaded is not kept"
    )
    # What is given back as arrays is the same, and the vector is a copy.
    assert np.array_equal(flatten(unflatten(theirs, layout), "float64")[0], theirs)
    unflatten(vector, layout, into=model)
    assert same(answers(model, x), before)
    return "works", goes_on(model, cls, kind)


@pytest.fixture(scope="module")
def verdicts() -> dict[str, tuple[str, str]]:
    # On one thread: for so little data, others spend a multiple of the time on waiting for each other.
    with warnings.catch_warnings(), threadpoolctl.threadpool_limits(1):
        warnings.simplefilter("ignore")
        return {name: judged(cls) for name, cls in everything()}


def test_every_estimator_works_or_is_refused(verdicts: dict[str, tuple[str, str]]) -> None:
    by_verdict = {
        wanted: {name for name, (verdict, _) in verdicts.items() if verdict == wanted}
        for wanted in ("works", "refused", "untried")
    }
    assert {"LinearRegression", "SGDClassifier", "MLPClassifier", "LinearSVC"} <= by_verdict[
        "works"
    ]
    assert {"SVC", "SVR", "NuSVC", "OneClassSVM", "KNeighborsClassifier"} <= by_verdict["refused"]
    # What wants other data than numbers in a table, and is no model that anybody would average.
    assert len(by_verdict["untried"]) < 25, by_verdict["untried"]
    for name in by_verdict["untried"]:
        model = made(dict(everything())[name])
        assert model is None or not hasattr(model, "coef_")


def test_a_refusal_says_what_and_what_instead(verdicts: dict[str, tuple[str, str]]) -> None:
    assert "support_vectors_" in verdicts["SVC"][1] and "LinearSVC" in verdicts["SVC"][1]
    assert "means_" in verdicts["LinearDiscriminantAnalysis"][1]
    for name, (verdict, reason) in verdicts.items():
        if verdict == "refused":
            assert name in reason and "attributes=" in reason, name


def test_the_documentation_has_the_table(verdicts: dict[str, tuple[str, str]]) -> None:
    version = ".".join(sklearn.__version__.split(".")[:2])
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    old, tail = rest.split(END)
    rows = [
        f"| {name} | {way or 'no: it is trained anew'} |"
        for name, (verdict, way) in verdicts.items()
        if verdict == "works"
    ]
    more = [
        name
        for name, (verdict, why) in verdicts.items()
        if verdict == "refused" and "has none of" not in why
    ]
    table = "\n".join(
        [
            f"Of scikit-learn {version}:\n",
            "| estimator | training goes on from a loaded model with |",
            "|---|---|",
            *rows,
            "",
            f"Refused although they have `coef_` or `intercept_`, since that is not all of them: {', '.join(more)}. "
            f"{sum(verdict == 'refused' for verdict, _ in verdicts.values()) - len(more)} others have no such "
            "attributes (trees, neighbours, mixtures, transformers, ...).\n",
        ]
    )  # fmt: skip
    if os.environ.get("PET_WRITE_DOCS"):
        PAGE.write_text(head + BEGIN + table + END + tail)
    elif f"Of scikit-learn {version}:" not in old:
        pytest.skip(
            f"the table is of another version than {version}: write it anew (make docs-estimators)"
        )
    else:
        assert old == table, "write it anew: make docs-estimators"


# What a default does not show.


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
def test_kernel_machines(kernel: str) -> None:
    from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

    x, (classes, value, *_) = data(1)
    for model, y in ((SVC(), classes), (NuSVC(nu=0.2), classes), (SVR(), value), (NuSVR(), value), (OneClassSVM(), None)):  # fmt: skip
        model.set_params(kernel=kernel).fit(x, y)
        with pytest.raises(
            LayoutError, match=f"{type(model).__name__} .*support_vectors_.*such as Linear"
        ):
            flatten(model)
    with pytest.raises(LayoutError, match="computes coef_ from other attributes"):
        flatten(SVC(kernel="linear").fit(x, classes), attributes=["coef_", "intercept_"])


def test_training_that_goes_back_to_other_weights_is_refused() -> None:
    from sklearn.linear_model import SGDClassifier, SGDRegressor
    from sklearn.neural_network import MLPClassifier

    x, (classes, value, *_) = data(1)
    for model, y in ((SGDClassifier(average=True), classes), (SGDRegressor(average=5), value)):
        with pytest.raises(LayoutError, match="_average_coef.* with average=False"):
            flatten(model.fit(x, y))
    stopping = MLPClassifier((3,), early_stopping=True, max_iter=20).fit(x, classes)
    with pytest.raises(LayoutError, match="_best_coefs.* with early_stopping=False"):
        flatten(stopping)


def test_an_attribute_that_nobody_knows_is_a_reason_to_refuse() -> None:
    from sklearn.linear_model import Ridge

    x, (_, value, *_) = data(1)
    model = Ridge().fit(x, value)
    flatten(model)
    for unknown in (np.zeros(3), [1.0], {"a": 1}, 0.5, Ridge(), np.zeros((2, 2), object)):
        model.feature_maps_ = unknown
        with pytest.raises(LayoutError, match="has learnt more than weights: feature_maps_"):
            flatten(model)
        # Who names what is the model answers for it.
        vector, layout = flatten(model, attributes=["coef_"])
        assert len(vector) == 4
        assert np.array_equal(layout.flatten(model), vector)
        assert np.array_equal(xaynet_sdk.Layout.from_json(layout.to_json()).flatten(model), vector)
    for harmless in (None, 3, "lbfgs", True, np.int64(3), [], {}):
        model.feature_maps_ = harmless
        flatten(model)


def test_a_wrapper_that_answers_for_another_is_refused() -> None:
    """What is set there would not be where predictions come from."""
    from sklearn.linear_model import Ridge

    class Wrapper:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            return {"inner": self.inner}

        def set_params(self, **settings: Any) -> None: ...

        def __getattr__(self, name: str) -> Any:
            return getattr(self.__dict__["inner"], name)

    class Gblinear(Wrapper):
        """As XGBoost with booster="gblinear"."""

        @property
        def coef_(self) -> Any:
            return self.inner.coef_.copy()

    x, (_, value, *_) = data(1)
    for wrapper in (Wrapper, Gblinear):
        model = wrapper(Ridge().fit(x, value))
        for attributes in (None, ["coef_"]):
            with pytest.raises(LayoutError, match="computes coef_"):
                flatten(model, attributes=attributes)


def test_models_of_other_classes_do_not_fit() -> None:
    """Weights of as many classes, but of others, would be added up all the same."""
    from sklearn.linear_model import LogisticRegression

    x, (classes, *_) = data(1)
    names = np.array(["benign", "malign", "unknown"])
    vector, layout = flatten(LogisticRegression().fit(x, names[classes]))
    other = LogisticRegression().fit(x, np.array(["benign", "malign", "none"])[classes])
    assert flatten(other)[1] != layout
    assert flatten(other)[1].fingerprint != layout.fingerprint
    told = r"classes_ are \['benign', 'malign', 'none'\] and should be \['benign', 'malign', 'unknown'\]"
    with pytest.raises(LayoutError, match=told):
        layout.flatten(other)
    with pytest.raises(LayoutError, match=told):
        unflatten(vector, layout, into=other)
    assert xaynet_sdk.Layout.from_json(layout.to_json()) == layout
    # A layout of an older version knows no classes.
    text = layout.to_json().replace('"labels": ["benign", "malign", "unknown"], ', "")
    text = text.replace(', "labels": ["benign", "malign", "unknown"]', "").replace(
        ', "named": false', ""
    )
    assert "benign" not in text
    xaynet_sdk.Layout.from_json(text).flatten(other)
