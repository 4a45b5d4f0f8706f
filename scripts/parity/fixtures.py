"""Writes the weight files of tests/data that only their own libraries can write.
    python scripts/parity/fixtures.py torch           needs torch
    python scripts/parity/fixtures.py tensorflow      needs tensorflow
"""
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"


def torch_files():
    """Every number type, and views that do not lie in one piece."""
    import torch

    numbers = torch.arange(-2, 4).reshape(2, 3)
    kinds = ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64"]
    state = {kind: numbers.to(getattr(torch, kind)) for kind in kinds}
    state["uint8"] = torch.arange(6, dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False, True])
    state["transposed"] = state["float32"].t()
    state["cut"] = state["float64"][1, :2].narrow(0, 0, 2)
    state["shared"] = state["float32"]
    state["parameter"] = torch.nn.Parameter(torch.tensor([0.5]))
    state["number"] = torch.tensor(7)
    state["empty"] = torch.zeros(0, 3)
    (DATA / "weights").mkdir(parents=True, exist_ok=True)
    torch.save(state, DATA / "weights" / "every_type.bin")


def tensorflow_files():
    """Every number type, and more names than one block of the index holds."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default(), tf.Session() as session:
        numbers = tf.reshape(tf.range(-2, 4), [2, 3])
        kinds = ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64"]
        for kind in kinds:
            tf.Variable(tf.cast(numbers, kind), name=f"types/{kind}")
        tf.Variable(tf.cast(tf.range(6), "uint8"), name="types/uint8")
        tf.Variable([True, False, True], name="types/bool")
        tf.Variable(7.0, name="number")
        tf.Variable(tf.zeros([0, 3]), name="empty")
        tf.Variable("some text", name="text")
        for i in range(300):
            tf.Variable([float(i)], name=f"many/variables/with/long/names/number_{i:03}")
        session.run(tf.global_variables_initializer())
        path = str(DATA / "weights" / "every_type.ckpt")
        tf.train.Saver().save(session, path, write_meta_graph=False, write_state=False)


if __name__ == "__main__":
    {"torch": torch_files, "tensorflow": tensorflow_files}[sys.argv[1]]()
