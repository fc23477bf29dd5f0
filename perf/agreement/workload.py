"""The workload that every tool reads: a Mooncake trace, and a tokenizer of one word a token.

Nothing is downloaded: the tokenizer is written by the `tokenizers` package of a tool's own virtual
environment, as a folder and, for tools that know names only, as an entry of a Hugging Face cache.
"""
import json
import random
import shutil
import subprocess

NAME = "baton/words"  # the tokenizer in the cache
REVISION = "0" * 40

MAKE_TOKENIZER = """
import json, sys
from tokenizers import Tokenizer, models, pre_tokenizers
special = ["<s>", "</s>", "<unk>"]
words = special + [f"w{i:04d}" for i in range(4096)]
tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer.add_special_tokens(special)
tokenizer.save(sys.argv[1] + "/tokenizer.json")
"""


def write_trace(path, requests, rate, seed):
    """Poisson arrivals at `rate` a second, and answers of four lengths."""
    rng = random.Random(seed)
    at_s = 0.0
    entries = []
    for i in range(requests):
        entries.append({"timestamp": round(at_s * 1000), "input_length": rng.randrange(64, 512),
                        "output_length": rng.choice([16, 32, 64, 96]), "hash_ids": [i + 1]})
        at_s += rng.expovariate(rate)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return entries


def make_tokenizer(folder, python):
    """Writes `folder`/words and the cache `folder`/huggingface that holds the same as NAME."""
    words = folder / "words"
    words.mkdir(parents=True)
    subprocess.run([python, "-c", MAKE_TOKENIZER, str(words)], check=True)
    (words / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "model_max_length": 131072,
        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}))
    (words / "config.json").write_text(json.dumps(
        {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 4099}))
    entry = folder / "huggingface" / "hub" / ("models--" + NAME.replace("/", "--"))
    (entry / "refs").mkdir(parents=True)
    (entry / "refs" / "main").write_text(REVISION)
    shutil.copytree(words, entry / "snapshots" / REVISION)
