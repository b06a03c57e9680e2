"""Trains a small neural network on the UCI handwritten digits and leaves its metrics, the model and a picture."""

import json
import os
import time
from pathlib import Path

import joblib
import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, confusion_matrix, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

mpl.use("Agg")
SEED = 7
BATCH = 32


def main() -> None:
    """One epoch after the other, each with a line of its own, flushed, so that it can be watched live."""
    epochs = int(os.environ.get("EPOCHS", "20"))
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.data, digits.target, test_size=0.25, random_state=SEED, stratify=digits.target
    )
    scaler = StandardScaler().fit(train_x)
    train_x, test_x = scaler.transform(train_x), scaler.transform(test_x)
    print(f"{len(digits.data)} images of 8 x 8: {len(train_x)} to train on, {len(test_x)} to test with", flush=True)
    model = MLPClassifier(hidden_layer_sizes=(64,), learning_rate_init=0.003, batch_size=BATCH, random_state=SEED)
    order, started = np.random.default_rng(SEED), time.perf_counter()
    history = []
    for epoch in range(1, epochs + 1):
        shuffled = order.permutation(len(train_x))
        for batch in shuffled[: len(shuffled) // BATCH * BATCH].reshape(-1, BATCH):
            model.partial_fit(train_x[batch], train_y[batch], classes=digits.target_names)
        loss = log_loss(train_y, model.predict_proba(train_x), labels=digits.target_names)
        accuracy = accuracy_score(test_y, model.predict(test_x))
        history.append({"epoch": epoch, "train_loss": round(loss, 6), "test_accuracy": round(accuracy, 6)})
        print(f"epoch {epoch:2}/{epochs}  train loss {loss:.4f}  test accuracy {accuracy:.4f}", flush=True)
    keep(model, scaler, test_x, test_y, history)
    print(f"trained in {time.perf_counter() - started:.1f} s; test accuracy {accuracy:.4f}", flush=True)


def keep(model: MLPClassifier, scaler: StandardScaler, test_x: np.ndarray, test_y: np.ndarray, history: list) -> None:
    """Write what the job is to leave behind into the working directory."""
    predicted = model.predict(test_x)
    metrics = {
        "dataset": "UCI handwritten digits (scikit-learn)",
        "images": 1797,
        "test_accuracy": history[-1]["test_accuracy"],
        "confusion_matrix": confusion_matrix(test_y, predicted).tolist(),
        "history": history,
        "seed": SEED,
    }
    Path("metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    joblib.dump({"scaler": scaler, "model": model}, "model.joblib")
    display = ConfusionMatrixDisplay.from_predictions(test_y, predicted, cmap="Blues", colorbar=False)
    display.ax_.set_title(f"UCI digits: test accuracy {history[-1]['test_accuracy']:.3f}")
    display.figure_.savefig("confusion_matrix.png", dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
