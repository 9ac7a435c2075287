//! What can be typed.

use std::env::consts;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Args as ArgGroup, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::count::count;
use crate::model::cpu::isa;
use crate::script::HostOptions;
use crate::script::limits::Limits;

use super::shipped::SHIPPED;
use super::{cache, table};

const EXAMPLES: &str = "\
Examples:
  patchscript                                   talk to the embedded model, line by line
  patchscript run patch.rhai --model ./gpt2     run a script with another one
  patchscript run patch.rhai --params           list what can be set
  patchscript run -i patch.rhai                 run it, then talk with its variables
  patchscript -e 'load().n_layers'              run a line
  patchscript run patch.rhai --set layer=8 --model openai-community/gpt2 --out results
  patchscript verify out/patch/run.json         run it again: are the results the same?
  patchscript new patch.rhai                    write a script to start from
  patchscript check patch.rhai                  find mistakes without running
  patchscript models info openai-community/gpt2 sizes, memory and sites of a model

A first script:
  let m = load();
  print(m.trace(\"The capital of France is\").top(3));

A script reads its own folder and the working folder, and writes to the folder for results.
Exit codes: 0 done, 1 the script failed, 2 usage or syntax, 130 interrupted.";

/// Causal experiments on language models from short scripts.
#[derive(Debug, Parser)]
#[command(name = "patchscript", after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Print the version
    #[arg(short = 'V', long)]
    pub version: bool,
    /// With `--version`: also the machine, its instructions that serve, and what was built in
    #[arg(long, requires = "version")]
    pub verbose: bool,
    /// Run this as if it were typed at the prompt, and leave; may be given several times
    #[arg(short = 'e', long, value_name = "CODE")]
    pub eval: Vec<String>,
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub settings: Settings,
}

/// Reads the command line; a mistake and `--help` end the program.
pub fn parse() -> Args {
    Args::try_parse().unwrap_or_else(|error| with_tip(error).exit())
}

/// What `--version` prints.
pub fn version(verbose: bool) -> String {
    let mut text = concat!("patchscript ", env!("CARGO_PKG_VERSION"), "\n").to_string();
    if verbose {
        let features: Vec<_> = [("hub", cfg!(feature = "hub")), ("cuda", cfg!(feature = "cuda"))]
            .into_iter()
            .filter_map(|(name, on)| on.then_some(name))
            .collect();
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        text += &table(&[
            ["machine".into(), format!("{} {}, {}", consts::ARCH, consts::OS, count(cores, "core"))],
            ["instructions".into(), isa::description()],
            ["features".into(), features.join(", ")],
        ]);
    }
    text
}

/// Without `run`, the name of a script is taken for a command: says how to run it.
fn with_tip(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(file)) = error.get(ContextKind::InvalidSubcommand)
        && file.ends_with(".rhai")
    {
        let tip = format!("to run this script: `patchscript run {file}`");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a script
    #[command(after_help = EXAMPLES)]
    Run(Run),
    /// Find mistakes in a script without running it
    Check(Check),
    /// Run a recorded run again and say what differs
    Verify(Verify),
    /// Make a page of a recorded run: its figures, numbers and script
    Show(Show),
    /// Write a script to start from
    New(New),
    /// Run the test functions of scripts, or of the stdlib
    Test(Test),
    /// Print the reference
    Doc(Doc),
    /// Write definition files for the language server of editors
    Definitions(Definitions),
    /// Print what a shell needs to complete commands
    Completions { shell: Shell },
    /// Print the manual pages
    Man,
    /// Talk line by line (the default)
    Repl(Settings),
    /// Models from the Hub: list, describe, fetch and remove them
    Models(Models),
    /// What runs keep of what they computed, so that the next one need not
    Cache(Cache),
    /// Check the engine on a model, and what the model costs
    CheckModel(CheckModel),
}

/// For whom results and errors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

impl Command {
    /// Whether programs read what it says.
    pub fn is_for_programs(&self) -> bool {
        let format = match self {
            Command::Run(run) => run.format,
            Command::Check(check) => check.format,
            Command::Verify(given) => given.format,
            Command::Models(Models { action: ModelsAction::Info { format, .. } }) => *format,
            Command::CheckModel(given) => given.format,
            Command::Cache(Cache { action: CacheAction::List { format } }) => *format,
            _ => Format::Text,
        };
        format == Format::Json
    }
}

#[derive(Debug, ArgGroup)]
pub struct Run {
    /// The script, a `.rhai` file; `-` reads it from standard input
    pub file: PathBuf,
    /// After the script, talk line by line with its variables
    #[arg(short = 'i', long)]
    pub interactive: bool,
    /// Set a parameter that the script declares with `param(name, default)`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub sets: Vec<(String, String)>,
    /// List the script's parameters and stop
    #[arg(long)]
    pub params: bool,
    /// Before each sweep, print its plan to standard error: cells, rows, arithmetic, memory, time
    #[arg(long)]
    pub explain: bool,
    /// Run it again whenever it, what it imports or what it reads changes; models stay loaded
    #[arg(long, conflicts_with_all = ["interactive", "params", "resume"])]
    pub watch: bool,
    /// Go on where an interrupted run of this script stopped: keep the lines of its logs that are there
    #[arg(long)]
    pub resume: bool,
    /// With `json`, errors, warnings, notes, plans and the end are an object a line on standard error
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, hide_possible_values = true)]
    pub format: Format,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, ArgGroup)]
pub struct Check {
    /// The script, a `.rhai` file
    pub file: PathBuf,
    /// With `json`, what was found is an object on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, hide_possible_values = true)]
    pub format: Format,
}

#[derive(Debug, ArgGroup)]
pub struct Verify {
    /// The record of the run, `out/<script name>/run.json`
    pub record: PathBuf,
    /// `text`, or `json` for programs
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, hide_possible_values = true)]
    pub format: Format,
}

#[derive(Debug, ArgGroup)]
pub struct Show {
    /// The record of the run, `out/<script name>/run.json`
    pub record: PathBuf,
    /// Where to write the page [default: beside the record]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

#[derive(Debug, ArgGroup)]
pub struct Test {
    /// Scripts, and folders whose scripts are meant; the working folder if none is named
    pub paths: Vec<PathBuf>,
    /// Test the modules of the stdlib
    #[arg(long)]
    pub stdlib: bool,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, ArgGroup)]
pub struct Doc {
    /// A function, a type, `Model.sweep` or a module of the stdlib; all of them if none is named
    pub name: Option<String>,
}

#[derive(Debug, ArgGroup)]
pub struct Definitions {
    /// Where to write them
    pub folder: PathBuf,
}

#[derive(Debug, ArgGroup)]
pub struct New {
    /// The script to write, with or without `.rhai`; with `--from`, its name if none is given
    #[arg(required_unless_present = "from")]
    pub name: Option<PathBuf>,
    /// Take this script of the program's own, with the data that it reads
    #[arg(long, value_name = "SCRIPT", value_parser = PossibleValuesParser::new(SHIPPED.iter().map(|script| script.name)))]
    pub from: Option<String>,
}

#[derive(Debug, ArgGroup)]
pub struct Models {
    #[command(subcommand)]
    pub action: ModelsAction,
}

#[derive(Debug, Subcommand)]
pub enum ModelsAction {
    /// List what the cache holds
    List,
    /// Say what a model is, from its config alone: sizes, memory, every site's shape
    Info {
        /// `org/name[@revision]` on the Hub, a folder, a `config.json` or a `.gguf` file
        id: String,
        /// Never use the network
        #[arg(long)]
        offline: bool,
        /// `text`, or `json` for programs
        #[arg(long, value_enum, value_name = "FORMAT", default_value_t, hide_possible_values = true)]
        format: Format,
    },
    /// Fetch a model's newest commit and print its folder
    Pull {
        /// `org/name` or `org/name@revision`
        id: String,
    },
    /// Remove a model from the cache
    Rm {
        /// `org/name`
        id: String,
    },
}

#[derive(Debug, ArgGroup)]
pub struct Cache {
    #[command(subcommand)]
    pub action: CacheAction,
}

#[derive(Debug, Subcommand)]
pub enum CacheAction {
    /// Say where results are kept, and how many
    List {
        /// `text`, or `json` for programs
        #[arg(long, value_enum, value_name = "FORMAT", default_value_t, hide_possible_values = true)]
        format: Format,
    },
    /// Remove all of them
    Clear,
}

#[derive(Debug, ArgGroup)]
pub struct CheckModel {
    /// A folder in Hugging Face layout, a `.gguf` file or `org/name` on the Hub
    pub id: String,
    /// Where to compute: `cpu`, `cuda`, `cuda:1`, `auto`, a card if there is one, or several, `cuda:0,cuda:1`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// The number type of the weights: `f32`, and on a card `bf16` or `f16`
    #[arg(long, value_name = "DTYPE", default_value = "f32")]
    pub dtype: String,
    /// How exactly float32 is multiplied: `highest`, or `high`, faster: on a card with errors near 5e-4 (tf32), on a CPU
    /// with a matrix unit (AMX) near 1e-5, and the same elsewhere
    #[arg(long, value_name = "PRECISION", default_value = "highest")]
    pub precision: String,
    /// Never use the network
    #[arg(long)]
    pub offline: bool,
    /// `text`, or `json` for programs
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, hide_possible_values = true)]
    pub format: Format,
}

/// What a run uses and may touch.
#[derive(Debug, ArgGroup)]
pub struct Settings {
    /// What `load()` loads: a folder in Hugging Face layout, a `.gguf` file or `org/name` on the Hub [default: demo]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Where to compute: `cpu`, `cuda`, `cuda:1`, `auto`, a card if there is one, or several that share the work,
    /// `cuda:0,cuda:1` [default: auto]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// The number type of the weights: `f32`, and on a card `bf16` or `f16` [default: f32]
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<String>,
    /// How exactly float32 is multiplied: `highest`, or `high`, faster: on a card with errors near 5e-4 (tf32), on a CPU
    /// with a matrix unit (AMX) near 1e-5, and the same elsewhere [default: highest]
    #[arg(long, value_name = "PRECISION")]
    precision: Option<String>,
    /// The seed of everything random [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The folder for results [default: out/<script name>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Let the script read this folder too
    #[arg(long, value_name = "DIR")]
    allow_read: Vec<PathBuf>,
    /// Let the script write to this folder too
    #[arg(long, value_name = "DIR")]
    allow_write: Vec<PathBuf>,
    /// What one step of a run may hold beyond the weights, like `2GiB`, `512MiB` or bytes [default: half of what is
    /// free]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    memory: Option<usize>,
    /// Compute everything, and keep nothing of it for the next run
    #[arg(long)]
    no_cache: bool,
    /// Never use the network
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, ArgGroup)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Steps of the script [default: 10000000000]
    #[arg(long, value_name = "N")]
    max_ops: Option<u64>,
    /// Nested function calls [default: 64]
    #[arg(long, value_name = "N")]
    max_call_levels: Option<usize>,
    /// Bytes of a string [default: 64000000]
    #[arg(long, value_name = "BYTES")]
    max_string: Option<usize>,
    /// Elements of an array [default: 10000000]
    #[arg(long, value_name = "N")]
    max_array: Option<usize>,
    /// Entries of a map [default: 1000000]
    #[arg(long, value_name = "N")]
    max_map: Option<usize>,
    /// What a script may hold in all, like `2GiB` or bytes; weights of models do not count [default: three quarters of
    /// what there is]
    #[arg(long, value_name = "SIZE", value_parser = bytes, alias = "max-tensor-bytes")]
    max_memory: Option<usize>,
    /// How long a script, or an input at the prompt, may take, like `10s`, `2m` or `1h` [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_time: Option<Duration>,
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            operations: self.max_ops.unwrap_or(default.operations),
            call_levels: self.max_call_levels.unwrap_or(default.call_levels),
            string_bytes: self.max_string.unwrap_or(default.string_bytes),
            array_len: self.max_array.unwrap_or(default.array_len),
            map_len: self.max_map.unwrap_or(default.map_len),
            memory: self.max_memory,
            time: self.max_time,
        }
    }
}

impl Settings {
    /// As plain data, for the REPL.
    pub fn options(self) -> HostOptions {
        HostOptions {
            limits: self.limits.limits(),
            model: self.model,
            device: self.device,
            dtype: self.dtype,
            precision: self.precision,
            seed: self.seed,
            out: self.out,
            allow_read: self.allow_read,
            allow_write: self.allow_write,
            offline: self.offline,
            memory: self.memory,
            cache: if self.no_cache { None } else { cache::place().unwrap_or_default() },
            explain: false,
            resume: false,
            may_exit: false,
            sets: Vec::new(),
            script: None,
        }
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(format!("write `--set {text}=VALUE`")),
    }
}

/// A size: bytes, or a number with a binary unit.
pub fn bytes(text: &str) -> Result<usize, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    let (number, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim_end(), *unit)))
        .unwrap_or((text, 1usize));
    let size = number.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    size.filter(|&size| size > 0).ok_or_else(|| "write it like `2GiB`, `512MiB` or `800000000`".into())
}

/// A time: seconds, or a number with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim_end(), *unit)))
        .unwrap_or((text, 1.0));
    let seconds = number.parse::<f64>().ok().map(|number| number * unit).filter(|seconds| *seconds > 0.0);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "write it like `10s`, `2m` or `1h`".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, size) in
            [("2GiB", Some(2 << 30)), ("512 MiB", Some(512 << 20)), ("1KiB", Some(1024)), ("77", Some(77))]
        {
            assert_eq!(bytes(text).ok(), size, "{text}");
        }
        for text in ["", "GiB", "2GB", "-1", "0", "1.5GiB", "99999999999999TiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("10s", 10.0), ("2m", 120.0), ("1.5 h", 5400.0), ("250ms", 0.25), ("3", 3.0)]
        {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "s", "-1s", "0", "nan", "inf", "1e300h", "2 days"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_default_to_the_hosts() {
        let args = Args::parse_from(["patchscript", "--max-ops", "5"]);
        assert_eq!(args.settings.options().limits, Limits { operations: 5, ..Limits::default() });
    }
}
