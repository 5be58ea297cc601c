"""A tokenizer trained offline on the questions and answers themselves: byte-level BPE, so no text is ever unknown."""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most ``vocab_size`` entries; the same texts give the same one.

    Words that come up often in ``texts`` become one token as far as the size allows. Raises ``ValueError`` for an
    empty ``texts``: without it every word would fall apart into bytes.
    """
    if not texts:
        raise ValueError("a teacher without a checkpoint needs texts to train its tokenizer on, got none")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(alphabet) + 3
    if vocab_size <= smallest:
        raise ValueError(f"teacher vocab_size {vocab_size} leaves no room beside the {smallest} bytes and markers")
    tokenizer = Tokenizer(models.BPE())
    # A blank in front: a word is the same token at the start of a text as within one.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        # Sorted: the library's alphabet comes in the order of a hash map.
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS)
