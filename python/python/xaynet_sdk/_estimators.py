"""What makes up a fitted estimator of scikit-learn, or of a library that follows its ways.

An estimator is taken only if all that it has learnt is accounted for: its weights, which are instance
attributes that can be set, and what is known to be no part of the model. Whatever else it has learnt is a
reason to refuse it, by name: predictions may follow from that, and then a loaded global model would change
nothing, or half of what it should.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xaynet_sdk._layout_error import LayoutError

#: What linear models and neural networks keep their weights in, in this order.
WEIGHTS = ("coef_", "intercept_", "coefs_", "intercepts_")

# What no prediction follows from, and no later training but in ways that are each participant's own. Whole
# numbers, texts, truth values and None are taken for counters and settings, and need no place here.
_NOT_OF_THE_MODEL = frozenset(
    {
        # Labels and names. (Those of classes are compared: see `labels`.)
        *("classes_", "feature_names_in_", "_label_binarizer"),
        # How training went.
        *("n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "dual_gap_", "eps_", "active_", "alphas_"),
        *("coef_path_", "criterion_", "noise_variance_", "rank_", "singular_", "outliers_", "scale_"),
        *("validation_scores_", "best_validation_score_", "scores_", "best_score_", "cv_results_"),
        # Settings that were searched for, and the search.
        *("alpha_", "l1_ratio_", "l1_ratios_", "C_", "Cs_", "cv_alphas_", "mse_path_", "coefs_paths_"),
        # What training needs for itself: made from the settings, from the samples, or anew.
        *("_base_loss", "_loss_function_", "loss_function_", "_expanded_class_weight", "_random_state"),
        *("_optimizer", "_best_coefs", "_best_intercepts", "_coef_indptr", "_intercept_indptr"),
    }
)  # fmt: skip

# Which of them count nevertheless while a setting is on: training then goes back to them.
_UNLESS = {"early_stopping": ("_best_coefs", "_best_intercepts")}


def is_estimator(model: Any) -> bool:
    return hasattr(model, "get_params") and hasattr(model, "set_params")


def weights(model: Any, attributes: Sequence[str] | None) -> dict[str, Any]:
    """The attributes that are the model. Whoever names them answers for the list being complete.

    Raises:
        LayoutError: It has none, or they are not all that it has learnt.
    """
    name = type(model).__name__
    wanted = WEIGHTS if attributes is None else tuple(attributes)
    found = {key: getattr(model, key) for key in wanted if _has(model, key)}
    computed = [key for key in found if not _can_be_set(model, key, attributes is not None)]
    more = [] if attributes is not None else _unaccounted(model)
    if computed or (found and more):
        raise LayoutError(_refusal(name, computed, more))
    if not found:
        raise LayoutError(_nothing(model, wanted))
    return found


def labels(model: Any) -> list[Any] | None:
    """The classes that a classifier tells apart, as values that JSON has: what its outputs mean."""
    if not _has(model, "classes_"):
        return None
    found = _plain(model.classes_)
    return found if isinstance(found, list) else [found]


def _plain(values: Any) -> Any:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, list | tuple):
        return [_plain(value) for value in values]
    return values if isinstance(values, str | int | float | None) else str(values)


def _has(model: Any, key: str) -> bool:
    try:
        return hasattr(model, key)
    except Exception:
        # A property that cannot be computed.
        return False


def _can_be_set(model: Any, key: str, named: bool) -> bool:
    if key in getattr(model, "__dict__", {}):
        return True
    attribute = getattr(type(model), key, None)
    if isinstance(attribute, property):
        return named and attribute.fset is not None
    # Slots are settable; what another object answers for (a wrapper's) is not.
    return named and hasattr(attribute, "__set__")


def _unaccounted(model: Any) -> list[str]:
    settings = model.get_params(deep=False)
    known = {*settings, *WEIGHTS, *_NOT_OF_THE_MODEL}
    for setting, names in _UNLESS.items():
        if getattr(model, setting, False):
            known -= {*names}
    learnt = getattr(model, "__dict__", {})
    return [
        key for key, value in learnt.items() if key not in known and not _is_no_weight(key, value)
    ]


def _is_no_weight(key: str, value: Any) -> bool:
    if value is None or isinstance(value, str | bool | int):
        return True
    if isinstance(value, float):
        # A setting that a base class has and this one does not offer; what is learnt ends in an underscore.
        return not (key.endswith("_") or key.startswith("_"))
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return len(value) == 0
    # NumPy's whole numbers are no int.
    return (
        getattr(value, "shape", None) == ()
        and getattr(getattr(value, "dtype", None), "kind", "-") in "iub"
    )


def _refusal(name: str, computed: Sequence[str], more: Sequence[str]) -> str:
    reasons = []
    if computed:
        reasons.append(
            f"computes {', '.join(computed)} from other attributes, so that none can be loaded"
        )
    if more:
        reasons.append(f"has learnt more than weights: {', '.join(more)}")
    return (
        f"the estimator {name} {', and '.join(reasons)}. Predictions or later training may follow from that, "
        f"and not from a vector: use a model that is its weights alone, such as {_instead(name, more)}; or, if "
        "you know that all of the model is in some attributes, name them with attributes=..."
    )


def _instead(name: str, more: Sequence[str]) -> str:
    if any(key.startswith("_average_") for key in more):
        return f"{name} with average=False"
    if "_best_coefs" in more:
        return f"{name} with early_stopping=False"
    if "SVC" in name:
        return "LinearSVC or SGDClassifier, perhaps behind a Nystroem or RBFSampler that all participants share"
    if "SVR" in name or "SVM" in name:
        return "LinearSVR or SGDRegressor, perhaps behind a Nystroem or RBFSampler that all participants share"
    if name == "LinearDiscriminantAnalysis":
        return "LogisticRegression or SGDClassifier"
    return "Ridge, SGDRegressor or SGDClassifier"


def _nothing(model: Any, wanted: Sequence[str]) -> str:
    name = type(model).__name__
    fitted = [key for key in vars(model) if key.endswith("_") and not key.startswith("_")]
    has_none = f"the estimator {name} has none of the attributes {', '.join(wanted)}"
    if fitted:
        return (
            f"{has_none}: a model of this kind (it has {', '.join(fitted[:5])}) is no set of weights, and the mean of "
            "such models is none. Of a pipeline or a search, give the linear model or neural network within; or "
            "name the attributes that are the model with attributes=..."
        )
    return (
        f"{has_none}: fit it first (a partial_fit with a few samples and all classes will do), or name others with "
        "attributes=..."
    )
