"""The fixed pieces of a script: what is defined once, whatever the comparison was."""

#: Ids of the prompt, by the model's tokenizer. `{raw}` and the others are values as code writes them.
TEMPLATED = """\
text = prompt
if tokenizer.chat_template:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
    )
ids = tokenizer(text, add_special_tokens=not tokenizer.chat_template).input_ids"""
RAW = "ids = tokenizer(prompt).input_ids  # raw: no chat template"
#: The same by the tokenizer in a GGUF file.
READER = """\
reader = Llama(gguf_file, vocab_only=True, verbose=False)
template = reader.metadata.get("tokenizer.chat_template")
text = prompt
if template:
    bos, eos = (reader.detokenize([id], special=True).decode() for id in (reader.token_bos(), reader.token_eos()))
    chat = Jinja2ChatFormatter(template, eos_token=eos, bos_token=bos)
    text = chat(messages=[{"role": "user", "content": prompt}]).prompt
ids = reader.tokenize(text.encode(), add_bos=not template, special=True)"""
RAW_READER = """\
reader = Llama(gguf_file, vocab_only=True, verbose=False)
ids = reader.tokenize(prompt.encode(), add_bos=True, special=True)  # raw: no chat template"""
CHAT_FORMAT = "from llama_cpp.llama_chat_format import Jinja2ChatFormatter"

TRANSFORMERS_ANSWER = '''\
def answer(model, **options):
    """The new tokens of one answer. A model's own habits of choosing, such as a penalty for repeating, are left out."""
    ends = {tokenizer.eos_token_id}
    for found in (getattr(model.config, "eos_token_id", None), model.generation_config.eos_token_id):
        ends.update(found if isinstance(found, list) else [found])
    ends = sorted(ends - {None})
    model.generation_config = GenerationConfig(eos_token_id=ends or None, pad_token_id=ends[0] if ends else 0)
    given = torch.tensor([ids], device=model.get_input_embeddings().weight.device)
    mask = torch.ones_like(given)
    output = model.generate(given, attention_mask=mask, {choice}, **options)
    return output[0, len(ids) :].tolist()'''

LLAMA_ANSWER = '''\
def llama_answer(file, **options):
    """The same by llama.cpp."""
    llm = Llama(file, n_ctx={context}, n_gpu_layers={layers}, seed={seed}, verbose=False, **options)
    ends, new = {{{eos}, llm.token_eos()}}, []
    for token in llm.generate(ids, {choice}):
        new.append(token)
        if token in ends or len(new) == {new_tokens}:
            break
    return new'''

MADE = '''\
def made(folder, *words):
    """A folder that `quantlab quantize` writes once: an ordinary checkpoint."""
    if not os.path.isdir(folder):
        subprocess.run([sys.executable, "-m", "quantlab.cli", "quantize", *words], check=True)
    return folder'''

LINEAR = '''\
def linear_layers(model):
    """Names of the layers that are quantized: all linear ones but the output head.

    Stacks of experts and the layers of GPT-2, which are no torch.nn.Linear, are not among them: quantlab rounds those
    too, so that for such a model the words may differ.
    """
    head = model.get_output_embeddings()
    return [name for name, it in model.named_modules() if isinstance(it, torch.nn.Linear) and it is not head]'''

ROUND = '''\
def round_to_nearest(weight, bits, group_size, symmetric):
    """Round a weight to integers in groups of a row, and give the values that they stand for.

    No library stores just this, so the integers are not packed here: the words are the same, the memory is not.
    """
    rows, columns = weight.shape
    groups = torch.nn.functional.pad(weight.float(), (0, -columns % group_size)).view(rows, -1, group_size)
    top = 2**bits - 1
    if symmetric:
        zero, scale = (top + 1) // 2, groups.abs().amax(-1, keepdim=True) / (top // 2)
    else:
        low, high = groups.amin(-1, keepdim=True).clamp(max=0), groups.amax(-1, keepdim=True).clamp(min=0)
        scale = (high - low) / top
    scale = scale.clamp(min=2.0**-24).half().float()  # as it is stored
    if not symmetric:
        zero = (-low / scale).round().clamp(0, top)
    codes = ((groups / scale).round() + zero).clamp(0, top)
    values = (codes - zero).to(weight.dtype) * scale.to(weight.dtype)
    return values.view(rows, -1)[:, :columns]'''

#: `{names}` are loggers, as code.
QUIET = """\
# These tell what is no fault, one of them at each product: kept quiet before what follows imports them.
for logger in {names}:
    logging.getLogger(logger).setLevel(logging.ERROR)"""
SAID_VERSIONS = "# Other versions may call things by other names, and may round otherwise."
SAID_PLACES = """\
# Paths that it names are of the machine on which it was written: elsewhere put yours in their place."""
SAID_SAMPLING = """\
# The comparison drew its tokens with random numbers that are the same for every precision. transformers and llama.cpp
# draw from the same distribution with numbers of their own, so the words differ although the seed is the same."""
SAID_RANDOM = """\
# The comparison filled this architecture with random weights. These are others, so the words differ; memory and speed
# do not."""
