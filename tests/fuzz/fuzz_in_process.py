"""Coverage-guided fuzzing (atheris) of one byte-level reader: ``fuzz_in_process.py TARGET SECONDS NEW_INPUTS``.

Called by fuzz_receive.py. libFuzzer ends with an error at an exception, at an input that takes longer than five
seconds, and when memory grows beyond its bound; it then leaves the input in the folder of new inputs.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
with atheris.instrument_imports(include=["covnode.receive"]):
    from in_process_targets import TARGETS

SEEDS = Path(__file__).parent / "seeds"


def main() -> None:
    target, seconds, folder = sys.argv[1:4]
    options = [f"-max_total_time={seconds}", "-timeout=5", "-rss_limit_mb=1024", "-max_len=65536", "-verbosity=0"]
    options += [f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    corpus = Path(folder) / "corpus"
    corpus.mkdir(parents=True)
    atheris.Setup([sys.argv[0], *options, str(corpus), str(SEEDS / target)], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
