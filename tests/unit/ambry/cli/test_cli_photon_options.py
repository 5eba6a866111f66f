"""Options of `ambry photon train` that would be passed over."""

from __future__ import annotations

import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from tests.support.whole_commands import run

TRAIN = ("photon", "train", "gone.avro", "--task", "logistic")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--upper", "5"), "--upper is of random effects; name one by --random, or leave it out"),
        (("--lower", "1"), "--lower is of random effects"),
        (("--seed", "9"), "--seed is of random effects"),
        (("--fixed", "", "--random", "r=member", "--normalization", "none"), "--normalization is of the fixed effect"),
        (("--sweeps", "3"), "--sweeps is of Spark; add --engine spark, or leave it out"),
        (("--workers", "7"), "--workers is of Spark"),
        (("--master", "yarn"), "--master is of Spark"),
        (("--conf", "a=b"), "--conf is of Spark"),
        (("--hadoop-conf", "."), "--hadoop-conf is of Spark"),
    ],
)
def test_an_option_that_means_nothing_is_refused_before_rows_are_read(args: tuple[str, ...], said: str) -> None:
    done = run(*TRAIN, *args)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())


def test_what_the_environment_says_is_of_other_commands_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADOOP_CONF_DIR", ".")
    assert "--hadoop-conf" not in run(*TRAIN).stderr
