"""Trainings of other libraries that meet a federation: loops of one's own, and where they are installed Keras, Hugging Face's Trainer
(with LoRA) and Lightning. The others in the federation are simple, and the coordinator is real."""

from __future__ import annotations

import importlib
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xaynet_sdk
from xaynet_sdk.adapters.exchange import Exchange

# Where too many are drawn to sum, or nobody, the next round begins soon.
QUICK = {
    "pet.sum.prob": 0.3,
    "pet.update.prob": 1.0,
    "pet.sum.time.min": 0.1,
    "pet.sum.time.max": 2,
    "pet.update.time.min": 0.1,
    "pet.update.time.max": 5,
    "pet.update.count.min": 3,
    "pet.sum2.time.min": 0.1,
    "pet.sum2.time.max": 5,
}


class Other(xaynet_sdk.ParticipantABC[Any, Any]):
    """Has its own weights, and has them drawn half-way to the global model."""

    global_model_as_array = True

    def __init__(self, weights: Any) -> None:
        self.weights = weights

    def deserialize_training_input(self, global_model: Any) -> Any:
        return global_model

    def train_round(self, training_input: Any) -> Any:
        if training_input is not None:
            self.weights = (self.weights + training_input) / 2
        return self.weights

    def serialize_training_result(self, training_result: Any) -> Any:
        return training_result


@contextmanager
def federation(length: int) -> Iterator[tuple[xaynet_sdk.Coordinator, Any, threading.Event]]:
    """A coordinator, eight simple participants, and a handle to one more."""
    mask = "Prime/F32/B4/M3"
    with xaynet_sdk.Coordinator(length, mask=mask, settings=QUICK) as coordinator:
        weights = [np.full(length, 0.01 * number, np.float32) for number in range(8)]
        others = [
            xaynet_sdk.spawn_participant(coordinator.url, Other, args=(each,)) for each in weights
        ]
        participant, news = xaynet_sdk.spawn_async_participant(coordinator.url)
        try:
            with participant:
                yield coordinator, participant, news
        finally:
            for other in others:
                other.stop()


def is_a_global_model(coordinator: xaynet_sdk.Coordinator, weights: Any) -> bool:
    models = [coordinator.global_model(round_id) for round_id in coordinator.rounds()]
    return any(model is not None and np.array_equal(model, weights) for model in models)


def test_a_loop_of_ones_own() -> None:
    weights = np.zeros(5, np.float32)

    def write(vector: Any) -> None:
        weights[:] = vector

    with federation(5) as (coordinator, participant, news):
        exchange = Exchange(participant, news, read=weights.copy, write=write, timeout=60)
        exchange.begin()
        # As long as rounds fail there is no global model, and training goes on with the local one.
        for _ in range(20):
            weights += np.float32(0.001)
            if exchange.swap():
                assert is_a_global_model(coordinator, weights)
            if exchange.loaded >= 3:
                break
        assert exchange.loaded >= 3


def test_a_wait_ends_in_time_and_training_goes_on() -> None:
    # Nobody else takes part: no round ends.
    with xaynet_sdk.Coordinator(3) as coordinator:
        participant, news = xaynet_sdk.spawn_async_participant(coordinator.url)
        with participant:
            exchange = Exchange(
                participant,
                news,
                read=lambda: np.ones(3, np.float32),
                write=lambda _: pytest.fail("there is no global model"),
                timeout=0.2,
            )
            assert not exchange.begin()
            assert not exchange.swap()
            assert exchange.loaded == 0
    # And who was stopped is told so.
    with pytest.raises(xaynet_sdk.UninitializedParticipant):
        exchange.swap()


def test_keras() -> None:
    if not (find_spec("keras") and find_spec("jax")):
        pytest.skip("needs keras and jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        os.environ.setdefault("KERAS_BACKEND", "jax")
        import keras

        from xaynet_sdk.adapters.keras import FederatedCallback

        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        model.compile(optimizer="sgd", loss="mse")
        x, y = np.random.default_rng(1).normal(size=(2, 16, 4)).astype(np.float32)
        seen: list[Any] = []
        look = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: seen.append(xaynet_sdk.flatten(model)[0])
        )
        with federation(15) as (coordinator, participant, news):
            callback = FederatedCallback(participant, news, timeout=60)
            model.fit(x, y[:, :3], epochs=6, verbose=0, callbacks=[callback, look])
            assert callback.exchange is not None and callback.exchange.loaded >= 2
            assert is_a_global_model(coordinator, seen[-1])


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def test_only_what_is_trained_is_in_the_vector(torch: Any) -> None:
    from xaynet_sdk.adapters.pytorch import AllWeights, TrainableWeights, weights_of

    body, head = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)
    body.requires_grad_(False)
    net = torch.nn.Sequential(body, torch.nn.BatchNorm1d(3, affine=False), head)
    trained = TrainableWeights(net)
    assert len(trained) == 8 and trained.layout.paths == ["2.weight", "2.bias"]
    assert len(AllWeights(net)) == 15 + 8 + 6
    frozen = body.weight.clone()
    trained.write(np.arange(8, dtype=np.float32))
    assert trained.read().tolist() == list(range(8))
    assert head.bias.tolist() == [6.0, 7.0] and head.bias.requires_grad
    assert torch.equal(body.weight, frozen)
    with pytest.raises(xaynet_sdk.LayoutError):
        trained.write(np.zeros(9, np.float32))
    with pytest.raises(xaynet_sdk.LayoutError, match="nothing"):
        TrainableWeights(body)
    with pytest.raises(ValueError, match="trainable"):
        weights_of(net, "some")


@pytest.mark.filterwarnings("ignore")
def test_a_transformer_with_lora_and_hugging_faces_trainer(torch: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    from xaynet_sdk.adapters.huggingface import FederatedCallback
    from xaynet_sdk.adapters.pytorch import TrainableWeights

    torch.manual_seed(1)
    config = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    whole = sum(weights.numel() for weights in model.parameters())
    lora = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    model = peft.get_peft_model(model, lora)
    trained = TrainableWeights(model)
    assert len(trained) == 2 * 2 * (16 + 48) and len(trained) < whole / 20
    frozen = model.base_model.model.transformer.wte.weight.clone()
    tokens = torch.randint(0, 50, (24, 8))
    data = [{"input_ids": row, "labels": row} for row in tokens]
    with federation(len(trained)) as (coordinator, participant, news):
        callback = FederatedCallback(participant, news, every=2, weights="trainable", timeout=60)
        seen: list[Any] = []

        class Look(transformers.TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                seen.append(trained.read())

        arguments = transformers.TrainingArguments(
            str(tmp_path),
            max_steps=12,
            per_device_train_batch_size=4,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(
            model, arguments, train_dataset=data, callbacks=[callback, Look()]
        )
        trainer.train()
        assert callback.exchange is not None and callback.exchange.loaded >= 2
        assert is_a_global_model(coordinator, seen[-1])
    assert torch.equal(model.base_model.model.transformer.wte.weight, frozen)


@pytest.mark.filterwarnings("ignore")
def test_lightning(torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.__version__ == "1.13.0a0":
        # Debian's 1.13.1 says so, and Lightning looks for what versions before 1.13 had instead.
        monkeypatch.setattr(torch, "__version__", "1.13.1")
    name = "lightning.pytorch" if find_spec("lightning") else "pytorch_lightning"
    try:
        lightning = importlib.import_module(name)
    except Exception as error:
        # It is installed for another PyTorch, say.
        pytest.skip(f"Lightning cannot be imported: {error}")
    from xaynet_sdk.adapters.lightning import FederatedCallback

    class Line(lightning.LightningModule):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.line = torch.nn.Linear(3, 1)

        def _register_sharded_tensor_state_dict_hooks_if_available(self) -> None:
            """Not here: what PyTorch 1.13 has of sharded tensors cannot be imported by Python 3.11."""

        def training_step(self, batch: Any, index: int) -> Any:
            x, y = batch
            return torch.nn.functional.mse_loss(self.line(x), y)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    x = torch.rand(16, 3)
    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4
    )
    module = Line()
    with federation(4) as (coordinator, participant, news):
        callback = FederatedCallback(participant, news, timeout=60)
        trainer = lightning.Trainer(
            max_epochs=6,
            accelerator="cpu",
            callbacks=[callback],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, data)
        assert callback.exchange is not None and callback.exchange.loaded >= 2
        assert is_a_global_model(coordinator, xaynet_sdk.flatten(module)[0])
