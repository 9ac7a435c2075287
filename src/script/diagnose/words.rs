//! Words of other languages, above all of Python and its libraries, that mean something here under another name.
//!
//! In a cure `{x}` stands for the first argument of a call as it was written, or for what stands before the dot.

/// Names where a value or a keyword was expected, and what to write.
const NAMES: &[(&[&str], &str)] = &[
    (&["True", "TRUE"], "write `true`"),
    (&["False", "FALSE"], "write `false`"),
    (&["None", "null", "NULL", "nil", "undefined", "nothing", "NA", "void"], "no value is written `()`"),
    (&["inf", "Inf", "Infinity"], "infinity is written `1.0 / 0.0`"),
    (&["nan", "NaN", "Nan"], "what is not a number is written `0.0 / 0.0`"),
    (&["and"], "write `&&`"),
    (&["or"], "write `||`"),
    (&["not"], "write `!`: `!(a in b)`"),
    (&["is"], "compare with `==`: `x == ()`"),
    (&["elif", "elseif", "elsif"], "write `else if … { … }`"),
    (&["except", "finally", "rescue"], "write `try { … } catch (e) { … }`"),
    (&["raise"], "write `throw \"…\"`"),
    (&["def", "function", "func", "fun", "sub"], "a function is `fn name(x) { … }`, a closure `|x| …`"),
    (&["lambda"], "a closure is written `|x| …`"),
    (
        &["class", "struct", "self", "super"],
        "there are no classes: maps, `#{name: value}`, hold what belongs together",
    ),
    (&["del"], "there is nothing to delete: a variable ends with its block"),
    (&["pass"], "an empty block is `{}`"),
    (
        &["from", "using", "require", "library"],
        "modules are imported by their file: `import \"patching\" as patching;`",
    ),
    (&["global", "nonlocal"], "a closure, `|x| …`, uses the variables around it by their names"),
    (&["with"], "write the lines without it: files are read and written whole, as by `read_text(path)`"),
    (&["async", "await", "yield", "go", "spawn"], "lines run one after the other: drop the word"),
    (&["new"], "values are made by functions: drop the word"),
    (&["match", "case"], "write `switch x { 1 => …, _ => … }`"),
    (&["end", "begin", "then"], "a block stands in braces: `{ … }`"),
    (&["foreach"], "write `for x in xs { … }`"),
    (&["until", "unless"], "write `while !(…) { … }` or `if !(…) { … }`"),
    (&["elementwise", "np", "numpy", "jnp", "torch", "nn", "F"], TENSORS),
    (&["math", "cmath"], "its functions are here by themselves: `sqrt(x)`, `exp(x)`, `PI()`"),
    (&["random"], "draws come from a generator with a seed: `let r = rng(0); r.normal()`"),
    (&["pd", "pandas"], "tables are read by `read_csv(path)`: see `help(Table)`"),
    (
        &["plt", "sns", "matplotlib", "seaborn", "plotly"],
        "figures are `heatmap`, `line`, `scatter`, `bars` and `hist`: `heatmap(x).show()`",
    ),
    (&["json"], "write `read_json(path)` and `write_json(path, value)`"),
    (&["re"], "write `regex_find_all(pattern, text)`"),
    (
        &["os", "sys", "pathlib", "argparse", "subprocess"],
        "a script is given values by `param(\"name\", default)` and files by functions like `read_text(path)`",
    ),
    (&["einops", "einsum"], "write `.reshape(…)`, `.t()` and `.matmul(…)`"),
    (
        &[
            "transformers",
            "transformer_lens",
            "nnsight",
            "nnterp",
            "AutoModel",
            "AutoModelForCausalLM",
            "AutoTokenizer",
            "HookedTransformer",
            "LanguageModel",
        ],
        "a model is loaded by `load(\"org/name\")`",
    ),
    (&["console", "System"], "write `print(…)`"),
];

const TENSORS: &str =
    "tensors and their functions are here by themselves, as in `tensor([1, 2]).mean()`: see `help(Tensor)`";
const GRADIENTS: &str =
    "gradients do not exist yet; measure an effect by patching: `m.run(prompt, patches)` or `m.sweep(…)`";
const PLACE: &str = "where and as what it computes is chosen when it is loaded: `load(id, #{device: \"cpu\", dtype: \"f32\"})`";
const HOOKS: &str = "write what to change as patches: `m.run(prompt, [resid_post(3).zero()])`";
const DETACHED: &str = "drop it: tensors have no gradient and no device of their own";

/// Functions that are called by their name.
const FUNCTIONS: &[(&[&str], &str)] = &[
    (
        &["str", "repr", "string", "as_string"],
        "write `{x}.to_string()`, or a text with the value in it: `` `${{x}}` ``",
    ),
    (&["int", "as_int"], "write `parse_int({x})` for a text, `{x}.to_int()` for a number"),
    (&["float", "double", "as_float"], "write `parse_float({x})` for a text, `{x}.to_float()` for a number"),
    (&["bool"], "compare: `{x} != 0`"),
    (&["list", "vector"], "arrays are written `[a, b]`; `{x}.to_array()` makes one of a range or a tensor"),
    (&["dict", "Map"], "maps are written `#{name: value}`"),
    (&["tuple"], "write an array: `[a, b]`"),
    (&["set", "frozenset", "Set"], "there are no sets: keep an array, and test with `x in xs`"),
    (&["array", "asarray"], "write the array itself, `[1, 2]`, or `tensor([1, 2])` to compute with it"),
    (&["c"], "write an array: `[{x}, …]`"),
    (&["length", "size", "nrow", "numel"], "write `{x}.len()`"),
    (&["sorted", "order"], "`sort` orders an array in place: `let a = {x}; a.sort();`"),
    (&["reversed", "rev"], "`reverse` turns an array round in place: `let a = {x}; a.reverse();`"),
    (&["enumerate"], "the index stands second in a `for`: `for (x, i) in {x} { … }`"),
    (&["zip"], "walk along one and index the other: `for (x, i) in {x} { … }`"),
    (
        &["map", "filter", "reduce", "sapply", "lapply"],
        "write it as a method: `xs.map(|x| …)`, `xs.filter(|x| …)`",
    ),
    (&["any", "all"], "write it as a method with a test: `xs.any(|x| x > 0)`, `xs.all(|x| x > 0)`"),
    (&["type", "typeof", "isinstance", "class"], "write `type_of({x})`, as in `type_of({x}) == \"array\"`"),
    (&["open", "readlines"], "write `read_text({x})` to read a file, `write_text({x}, text)` to write one"),
    (&["input", "readline"], "a script is given values by `param(\"name\", default)`"),
    (&["round"], "write `{x}.round()`, or `round_half_even({x}, 2)` for digits after the point"),
    (&["pow"], "write `a ** b`"),
    (&["println", "printf", "puts", "echo"], "write `print({x})`"),
    (&["sprintf", "paste", "paste0", "format"], "write `fmt(\"{} of {:.3}\", a, b)`"),
    (&["seq", "linspace"], "a range is `0..8`; with a step `range(0, 8, 2)`"),
    (&["copy", "deepcopy"], "an assignment copies: `let b = {x};`"),
    (&["getattr", "hasattr"], "test a map with `\"name\" in map`, and read it with `map.name`"),
    (&["stop", "error", "Exception", "ValueError"], "write `throw \"…\"`"),
    (&["grad", "backward", "vjp", "jvp", "autograd"], GRADIENTS),
];

/// Methods and fields, by the type before the dot: `*` is any.
const METHODS: &[(&str, &[&str], &str)] = &[
    ("*", &["grad", "backward", "requires_grad", "requires_grad_", "retain_grad", "zero_grad"], GRADIENTS),
    ("array", &["append", "add", "push_back"], "write `.push(…)`; `.append([…])` joins a whole array"),
    ("array", &["extend", "concat"], "write `.append([…])`"),
    ("array", &["index", "indexOf", "findIndex"], "write `.index_of(x)`"),
    ("array", &["includes", "has"], "write `.contains(x)`"),
    (
        "array",
        &["length", "size", "count", "shape"],
        "write `.len()`; the shape of nested arrays is `tensor(x).shape`",
    ),
    ("array", &["forEach"], "write `.for_each(|x| …)`"),
    ("array", &["sorted", "copy", "clone"], "an assignment copies: `let b = a; b.sort();`"),
    (
        "array",
        &["t", "reshape", "norm", "exp", "log", "softmax", "argmax"],
        "make it a tensor first: `tensor(xs)`",
    ),
    ("string", &["lower", "toLowerCase", "casefold"], "write `.to_lower()`"),
    ("string", &["upper", "toUpperCase"], "write `.to_upper()`"),
    ("string", &["strip", "lstrip", "rstrip", "chomp"], "`trim` works in place: `let s = {x}; s.trim();`"),
    ("string", &["startswith", "startsWith"], "write `.starts_with(…)`"),
    ("string", &["endswith", "endsWith"], "write `.ends_with(…)`"),
    ("string", &["find", "index", "indexOf"], "write `.index_of(…)`"),
    ("string", &["substr", "substring", "slice"], "write `.sub_string(start, length)`"),
    ("string", &["includes", "has"], "write `.contains(…)`"),
    ("string", &["length", "size"], "write `.len()`"),
    ("string", &["splitlines"], "write `.split(\"\\n\")`"),
    ("string", &["zfill", "ljust", "rjust", "center"], "write `fmt(\"{:>8}\", x)`"),
    ("string", &["repeat"], "write `text * n`"),
    ("string", &["join"], "the array comes first: `join(items, {x})`"),
    (
        "string",
        &["encode", "isdigit", "isalpha", "title", "capitalize"],
        "`regex_find_all(pattern, text)` looks at its letters",
    ),
    ("map", &["items", "entries", "iteritems"], "walk along its keys: `for key in m.keys() { m[key] … }`"),
    ("map", &["get", "setdefault", "getOrDefault"], "write `m[key] ?? default`, or test first: `key in m`"),
    ("map", &["update", "merge"], "write `m.mixin(other)`"),
    ("map", &["pop", "delete"], "write `m.remove(key)`"),
    ("map", &["has", "has_key", "hasOwnProperty", "containsKey"], "write `key in m`"),
    ("map", &["probability", "probs", "p"], "its entry is `.prob`"),
    ("map", &["score", "value"], "its keys are `m.keys()`"),
    ("map", &["length", "size"], "write `.len()`"),
    ("Tensor", &["numpy", "tolist", "to_list"], "write `.to_array()`"),
    (
        "Tensor",
        &["detach", "cpu", "cuda", "to", "clone", "contiguous", "float", "half", "double", "no_grad"],
        DETACHED,
    ),
    ("Tensor", &["size", "ndim", "dim"], "write `.shape`, an array of the sizes of its axes"),
    ("Tensor", &["view", "flatten", "ravel", "squeeze", "unsqueeze"], "write `.reshape([…])`"),
    ("Tensor", &["T", "transpose", "mT"], "write `.t()`"),
    ("Tensor", &["mm", "bmm"], "write `.matmul(other)`"),
    ("Tensor", &["einsum"], "write `einsum(\"qd,kd->qk\", [q, k])`"),
    ("Tensor", &["square", "pow"], "write `x * x`"),
    ("Tensor", &["length"], "write `.len`"),
    ("Tensor", &["gt", "ge", "lt", "le", "eq", "ne"], "compare with operators: `x > 0.0`"),
    ("Model", &["to_tokens", "encode", "tokenize", "tokenizer"], "write `m.tokens(text)`"),
    ("Model", &["to_str_tokens"], "write `m.tokens(text).texts`"),
    ("Model", &["to_single_token"], "write `m.token(text)`"),
    ("Model", &["run_with_cache", "session", "scan"], "write `m.trace(prompt, sites)`"),
    ("Model", &["run_with_hooks", "add_hook", "hooks", "register_forward_hook", "intervene"], HOOKS),
    (
        "Model",
        &["forward", "logits", "loss"],
        "write `m.trace(prompt).logits`; a metric such as `loss(tokens)` is read by `.of(trace)`",
    ),
    ("Model", &["to", "cuda", "cpu", "half", "bfloat16", "float"], PLACE),
    ("Model", &["eval", "train", "no_grad", "reset_hooks"], "drop it: a model never changes"),
    ("Model", &["cfg", "hparams"], "write `m.config`, or fields such as `m.n_layers`"),
    (
        "Model",
        &["layers", "blocks", "transformer", "model", "h", "lm_head", "embed_tokens"],
        "read what a run records: `m.trace(prompt)[resid_post(3)]`; weights are `m.weight(\"blocks.3.attn.W_O\")`",
    ),
    (
        "Model",
        &["W_U", "W_E", "W_Q", "W_K", "W_V", "W_O", "W_in", "W_out", "state_dict", "parameters"],
        "weights are read by name: `m.weight(\"unembed.W_U\")`",
    ),
    ("Model", &["sample", "complete"], "write `m.generate(prompt, #{max_new_tokens: 16})`"),
    ("Model", &["num_layers", "num_hidden_layers"], "write `m.n_layers`"),
    ("Model", &["hidden_size"], "write `m.d_model`"),
    ("Model", &["vocab_size"], "write `m.d_vocab`"),
    (
        "Trace",
        &["cache", "cache_dict", "activations", "hidden_states"],
        "index the trace by a site: `t[resid_post(3)]`",
    ),
    ("Trace", &["save", "value", "output", "input"], "values are there at once: `t[resid_post(3)]`"),
    ("Trace", &["probs", "softmax"], "write `t.last.softmax()`"),
    ("Trace", &["argmax", "prediction"], "write `t.top(1)`"),
    (
        "Table",
        &["iloc", "loc", "iterrows", "rows"],
        "write `table[0]` for a row, and `for row in table { … }` for all",
    ),
    ("Table", &["shape", "size", "length"], "write `table.len` and `table.columns`"),
];

/// What to write for a name that stands where a value or a keyword was expected.
pub fn name(word: &str) -> Option<&'static str> {
    NAMES.iter().find(|(words, _)| words.contains(&word)).map(|(_, cure)| *cure)
}

/// What to write for a function that is called by this name.
pub fn function(word: &str) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(words, _)| words.contains(&word)).map(|(_, cure)| *cure)
}

/// What to write for a method or field of a value of this type; of each type that has such a word if it is not known.
pub fn member(word: &str, ty: Option<&str>) -> Option<String> {
    let fits = |on: &str| on == "*" || ty.is_none_or(|ty| ty == on);
    let mut cures: Vec<(&str, Vec<String>)> = Vec::new();
    for (on, _, cure) in METHODS.iter().filter(|(on, words, _)| fits(on) && words.contains(&word)) {
        match cures.iter_mut().find(|(known, _)| known == cure) {
            Some((_, types)) => types.push(format!("`{on}`")),
            None => cures.push((cure, vec![format!("`{on}`")])),
        }
    }
    match cures.as_slice() {
        [] => None,
        [(cure, _)] => Some((*cure).into()),
        several => {
            let cures = several.iter().map(|(cure, types)| format!("of {}: {cure}", types.join(", ")));
            Some(cures.collect::<Vec<_>>().join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Host, HostOptions};

    #[test]
    fn no_word_hides_one_of_ours() {
        let host = Host::new(HostOptions::default());
        let table = host.table();
        for (on, words, _) in METHODS {
            for word in *words {
                assert!(table.of_type(on).all(|entry| entry.name() != *word), "{on}.{word}");
            }
        }
        for (words, _) in FUNCTIONS {
            for word in *words {
                let ours = |entry: &&crate::script::api::Entry| entry.receiver.is_none();
                assert!(!table.named(word).any(|entry| ours(&entry)), "{word}");
            }
        }
    }
}
