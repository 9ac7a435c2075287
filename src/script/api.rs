//! The one table of everything a script can call.
//!
//! A binding registers through [`Api`], which hands the Rust function to the engine and keeps an
//! [`Entry`] for everything a reader needs. Help, completion, error messages and the reference are
//! printed from the same entries, and a test runs every example.
//!
//! ```
//! # use patchscript::script::Api;
//! fn register(api: &mut Api) {
//!     api.function("double(x: int) -> int", "twice `x`").example("double(21)", "42").native(|x: i64| 2 * x);
//! }
//! ```

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use rhai::{Dynamic, Engine, FuncRegistration, Module, NativeCallContext, RhaiFunc, RhaiNativeFunc};

use super::context::Context;
use super::error::{ScriptResult, fail};
use super::gate;
use super::signature::{Signature, SignatureError};

/// How a script reaches an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Function,
    Method,
    Getter,
    Operator,
    Indexer,
}

/// A line of code and what the REPL prints for its value.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    pub code: &'static str,
    pub output: &'static str,
}

/// One callable: where it hangs, how it is called, what it means.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: Kind,
    /// The type it hangs from; none for a function.
    pub receiver: Option<&'static str>,
    pub signature: Signature,
    pub summary: &'static str,
    pub example: Option<Example>,
}

impl Entry {
    pub fn name(&self) -> &'static str {
        self.signature.name
    }

    /// The names of its options, as the summary lists them; `None` where it lists none, or where others are valid too.
    pub fn options(&self) -> Option<Vec<&'static str>> {
        let (_, listed) = self.summary.split_once("options: ").filter(|_| self.name() != "chat")?;
        // What stands in brackets are values.
        let mut depth = 0usize;
        let names = listed.split_inclusive(['(', ')']).filter(|part| {
            let outside = depth == 0;
            depth = if part.ends_with('(') { depth + 1 } else { depth.saturating_sub(1) };
            outside
        });
        let quoted = names.flat_map(|part| part.split('`').skip(1).step_by(2));
        Some(quoted.filter(|name| rhai::is_valid_identifier(name)).collect())
    }

    /// The call as a reader writes it: `Tokens.find(text: string) -> int`.
    pub fn usage(&self) -> String {
        let signature = &self.signature;
        match (self.kind, self.receiver) {
            (Kind::Operator, Some(receiver)) => {
                let other = signature.params.iter().flatten().next();
                let other = other.map_or(String::new(), |p| format!(" {}", p.ty));
                format!("{receiver} {}{other} -> {}", signature.name, signature.result)
            }
            (Kind::Indexer, Some(receiver)) => format!("{receiver}{signature}"),
            (_, Some(receiver)) => format!("{receiver}.{signature}"),
            (_, None) => signature.to_string(),
        }
    }
}

/// A type that scripts hold values of.
#[derive(Clone, Debug)]
pub struct TypeEntry {
    pub name: &'static str,
    pub summary: &'static str,
}

type Show = dyn Fn(&Dynamic) -> Option<String> + Send + Sync;

/// The finished table.
#[derive(Default)]
pub struct Table {
    pub entries: Vec<Entry>,
    pub types: Vec<TypeEntry>,
    shows: HashMap<TypeId, Box<Show>>,
    draws: HashMap<TypeId, Box<Show>>,
    pictures: HashMap<TypeId, Box<Show>>,
    /// Signature lines that do not parse; a test holds this empty.
    pub mistakes: Vec<SignatureError>,
}

impl Table {
    /// The entries of that name, on any receiver.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.name() == name)
    }

    /// The entries that hang from a type.
    pub fn of_type<'a>(&'a self, receiver: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.receiver == Some(receiver))
    }

    /// How the REPL prints a value of a registered type; `None` for the language's own types.
    pub fn show(&self, value: &Dynamic) -> Option<String> {
        self.shows.get(&value.type_id()).and_then(|show| show(value))
    }

    /// How the REPL draws a value that stands alone, if its type has a drawing.
    pub fn draw(&self, value: &Dynamic) -> Option<String> {
        self.draws.get(&value.type_id()).and_then(|draw| draw(value))
    }

    /// How a person's terminal shows a value, if it shows more than a file would hold.
    pub fn picture(&self, value: &Dynamic) -> Option<String> {
        self.pictures.get(&value.type_id()).and_then(|picture| picture(value))
    }
}

/// What a binding registers with.
pub struct Api<'e> {
    engine: &'e mut Engine,
    functions: Module,
    table: Table,
    context: Arc<Context>,
}

impl<'e> Api<'e> {
    pub fn new(engine: &'e mut Engine, context: Arc<Context>) -> Self {
        Self { engine, functions: Module::new(), table: Table::default(), context }
    }

    /// What the running script shares with its bindings; clone it into the native functions.
    pub fn context(&self) -> Arc<Context> {
        self.context.clone()
    }

    /// Hands all functions to the engine; gives the table of what was registered.
    pub fn finish(self) -> Table {
        self.engine.register_global_module(self.functions.into());
        self.table
    }

    /// Names a type and says how `print` and the REPL show its values.
    pub fn ty<T>(
        &mut self,
        name: &'static str,
        summary: &'static str,
        show: impl Fn(&T) -> String + Clone + Send + Sync + 'static,
    ) where
        T: Clone + Send + Sync + 'static,
    {
        self.engine.register_type_with_name::<T>(name);
        names().write().unwrap_or_else(PoisonError::into_inner).insert(type_name::<T>(), name);
        for print in ["to_string", "to_debug"] {
            let show = show.clone();
            self.engine.register_fn(print, move |value: &mut T| show(value));
        }
        let read = move |value: &Dynamic| value.read_lock::<T>().map(|value| show(&value));
        self.table.shows.insert(TypeId::of::<T>(), Box::new(read));
        self.table.types.push(TypeEntry { name, summary });
    }

    /// Says how the REPL draws a value that stands alone.
    pub fn drawn<T: Clone + Send + Sync + 'static>(
        &mut self,
        draw: impl Fn(&T) -> String + Send + Sync + 'static,
    ) {
        let read = move |value: &Dynamic| value.read_lock::<T>().map(|value| draw(&value));
        self.table.draws.insert(TypeId::of::<T>(), Box::new(read));
    }

    /// Says what a person's terminal shows for a value that stands alone, where it can.
    pub fn pictured<T: Clone + Send + Sync + 'static>(
        &mut self,
        picture: impl Fn(&T) -> Option<String> + Send + Sync + 'static,
    ) {
        let read = move |value: &Dynamic| value.read_lock::<T>().and_then(|value| picture(&value));
        self.table.pictures.insert(TypeId::of::<T>(), Box::new(read));
    }

    /// Lets `for` loops run over a registered type.
    pub fn iterable<T>(&mut self)
    where
        T: IntoIterator<Item = Dynamic> + Clone + Send + Sync + 'static,
    {
        self.engine.register_iterator::<T>();
    }

    /// A free function.
    pub fn function(&mut self, signature: &'static str, summary: &'static str) -> Binding<'_, 'e> {
        self.entry(Kind::Function, None, signature, summary)
    }

    /// A method; the native function takes `&mut T` first.
    pub fn method(
        &mut self,
        receiver: &'static str,
        signature: &'static str,
        summary: &'static str,
    ) -> Binding<'_, 'e> {
        self.entry(Kind::Method, Some(receiver), signature, summary)
    }

    /// A field to read.
    pub fn getter(
        &mut self,
        receiver: &'static str,
        signature: &'static str,
        summary: &'static str,
    ) -> Binding<'_, 'e> {
        self.entry(Kind::Getter, Some(receiver), signature, summary)
    }

    /// An operator: `+(other: Tensor) -> Tensor`; the native function takes both sides by value.
    pub fn operator(
        &mut self,
        receiver: &'static str,
        signature: &'static str,
        summary: &'static str,
    ) -> Binding<'_, 'e> {
        self.entry(Kind::Operator, Some(receiver), signature, summary)
    }

    /// Reading by index: `[i: int] -> string`.
    pub fn indexer(
        &mut self,
        receiver: &'static str,
        signature: &'static str,
        summary: &'static str,
    ) -> Binding<'_, 'e> {
        self.entry(Kind::Indexer, Some(receiver), signature, summary)
    }

    fn entry(
        &mut self,
        kind: Kind,
        receiver: Option<&'static str>,
        line: &'static str,
        summary: &'static str,
    ) -> Binding<'_, 'e> {
        let entry = match Signature::parse(line) {
            Ok(signature) => Some(Entry { kind, receiver, signature, summary, example: None }),
            Err(mistake) => {
                self.table.mistakes.push(mistake);
                None
            }
        };
        Binding { api: self, entry }
    }
}

/// An entry being registered; it joins the table when dropped.
pub struct Binding<'a, 'e> {
    api: &'a mut Api<'e>,
    entry: Option<Entry>,
}

impl Binding<'_, '_> {
    /// Code that needs nothing but the embedded model, and what the REPL prints for it.
    pub fn example(mut self, code: &'static str, output: &'static str) -> Self {
        if let Some(entry) = &mut self.entry {
            entry.example = Some(Example { code, output });
        }
        self
    }

    /// The Rust function. Called again, it adds an overload.
    pub fn native<A: 'static, const N: usize, const X: bool, R, const F: bool>(
        self,
        function: impl RhaiNativeFunc<A, N, X, R, F> + Send + Sync + 'static,
    ) -> Self
    where
        R: Clone + Send + Sync + 'static,
    {
        let types = parameters(&function);
        if let Some(entry) = &self.entry {
            let registration = match entry.kind {
                Kind::Getter => FuncRegistration::new_getter(entry.name()),
                Kind::Indexer => FuncRegistration::new_index_getter(),
                _ => FuncRegistration::new(entry.name()),
            };
            // Callable on constants, and with one result for the same arguments as far as the engine is concerned.
            let function = gate::guarded(function.into_rhai_function(true, false), &self.api.context);
            registration.in_global_namespace().set_into_module_raw(&mut self.api.functions, types, function);
        }
        self
    }

    /// The Rust function for each of these numbers of arguments, which may be of any type.
    pub fn variadic(
        self,
        counts: RangeInclusive<usize>,
        function: impl Fn(&NativeCallContext, &[Dynamic]) -> ScriptResult<Dynamic> + Clone + Send + Sync + 'static,
    ) -> Self {
        if let Some(entry) = &self.entry {
            for count in counts {
                let function = function.clone();
                let native = move |call: Option<NativeCallContext>, args: &mut [&mut Dynamic]| {
                    let args: Vec<_> = args.iter().map(|arg| (**arg).clone()).collect();
                    let call = call.ok_or_else(|| fail("this function is called by a script only"))?;
                    function(&call, &args)
                };
                let native = RhaiFunc::Method {
                    func: Arc::new(native),
                    has_context: true,
                    is_pure: true,
                    is_volatile: true,
                };
                let types = vec![TypeId::of::<Dynamic>(); count];
                let registration = FuncRegistration::new(entry.name()).in_global_namespace();
                registration.set_into_module_raw(
                    &mut self.api.functions,
                    types,
                    gate::guarded(native, &self.api.context),
                );
            }
        }
        self
    }
}

fn parameters<A: 'static, const N: usize, const X: bool, R: 'static, const F: bool, T>(_: &T) -> [TypeId; N]
where
    T: RhaiNativeFunc<A, N, X, R, F>,
{
    T::param_types()
}

impl Drop for Binding<'_, '_> {
    fn drop(&mut self) {
        self.api.table.entries.extend(self.entry.take());
    }
}

/// Rust's names of the registered types, with the names that scripts know. A fact about the program,
/// the same for every engine, so that values can be named where no engine is at hand.
fn names() -> &'static RwLock<HashMap<&'static str, &'static str>> {
    static NAMES: LazyLock<RwLock<HashMap<&'static str, &'static str>>> = LazyLock::new(RwLock::default);
    &NAMES
}

/// The name of a Rust type as scripts know it, for messages.
pub fn script_type(engine_name: &str) -> String {
    let name = match engine_name {
        "i64" => "int",
        "f64" => "float",
        "&str | ImmutableString | String" | "ImmutableString" | "&str" => "string",
        "Fn" => "function",
        "range=" => "range",
        name if name == type_name::<std::ops::Range<i64>>() => "range",
        name if name == type_name::<std::ops::RangeInclusive<i64>>() => "range",
        name => match names().read().unwrap_or_else(PoisonError::into_inner).get(name) {
            Some(name) => name,
            None => name.rsplit("::").next().unwrap_or(name),
        },
    };
    name.to_string()
}
