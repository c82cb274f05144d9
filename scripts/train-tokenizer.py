"""Trains the byte-level BPE of the shipped base model (4,096 pieces, any UTF-8) on data/base-en.

    pip install tokenizers==0.23.3
    python scripts/train-tokenizer.py data/base-en/base-en.train.txt.gz packages/node/models/base-en
"""

import gzip
import json
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

source, target = sys.argv[1:]
END = "<|endoftext|>"

with gzip.open(source, "rt", encoding="utf-8") as file:
    documents = file.read().split(END)

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=4096, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
)
tokenizer.train_from_iterator(documents, trainer)
tokenizer.save(f"{target}/tokenizer.json")
with open(f"{target}/tokenizer_config.json", "w") as file:
    json.dump(
        {"tokenizer_class": "GPT2Tokenizer", "clean_up_tokenization_spaces": False, "model_max_length": 256, "bos_token": END, "eos_token": END, "unk_token": END},
        file,
        indent=2,
    )
    file.write("\n")
text = documents[0][:200_000]
print(f"{tokenizer.get_vocab_size()} pieces, {len(text.encode()) / len(tokenizer.encode(text).ids):.2f} bytes per token")
