//! What `import` finds: the stdlib inside the binary, then files in the script's folder tree.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use super::context::Context;
use super::error::{ScriptResult, fail};
use super::source;
use super::turns::{Refused, Turns};
use crate::nearest::nearest;
use crate::utf8;

/// The stdlib: the name that scripts import and the text.
pub const STDLIB: &[(&str, &str)] = &[
    ("asking", include_str!("../../stdlib/asking.rhai")),
    ("lens", include_str!("../../stdlib/lens.rhai")),
    ("mfa", include_str!("../../stdlib/mfa.rhai")),
    ("metrics", include_str!("../../stdlib/metrics.rhai")),
    ("patching", include_str!("../../stdlib/patching.rhai")),
    ("patchscope", include_str!("../../stdlib/patchscope.rhai")),
    ("plots", include_str!("../../stdlib/plots.rhai")),
    ("probes", include_str!("../../stdlib/probes.rhai")),
    ("steering", include_str!("../../stdlib/steering.rhai")),
];

/// Whether `import` finds this name inside the binary.
pub fn is_embedded(name: &str) -> bool {
    STDLIB.iter().any(|(module, _)| *module == name)
}

/// Compiles each module once, when it is first imported. Clones share what is loaded.
#[derive(Clone)]
pub struct Modules {
    context: Arc<Context>,
    turns: Turns,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    loaded: HashMap<String, Shared<Module>>,
    /// The modules being evaluated now, to refuse cycles.
    loading: Vec<String>,
}

impl Modules {
    pub fn new(context: Arc<Context>, turns: Turns) -> Self {
        Self { context, turns, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The unique name and the text of a module.
    fn find(&self, importer: Option<&str>, path: &str) -> ScriptResult<(String, String)> {
        if let Some((name, text)) = STDLIB.iter().find(|(name, _)| *name == path) {
            return Ok((format!("stdlib/{name}.rhai"), (*text).to_string()));
        }
        let root = self.context.options.script_folder();
        let folder =
            importer.map(Path::new).and_then(Path::parent).filter(|folder| folder.starts_with(&root));
        let mut file = folder.unwrap_or(&root).join(path);
        if file.extension().is_none_or(|extension| extension != "rhai") {
            file.as_mut_os_string().push(".rhai");
        }
        let Ok(canonical) = file.canonicalize() else { return Err(not_found(path, &file)) };
        let inside = root.canonicalize().is_ok_and(|root| canonical.starts_with(root));
        if !inside {
            return Err(fail(format!("module `{path}` lies outside the script's folder"))
                .help(format!("move `{}` into `{}`", file.display(), root.display()))
                .into());
        }
        let bytes = source::read(&canonical)
            .map_err(|error| fail(format!("cannot read module `{path}`: {error}")))?;
        let text = utf8::text(bytes).map_err(|reason| {
            fail(format!("module `{path}` is {reason}")).help("save it as UTF-8 in your editor")
        })?;
        Ok((tidy(&file).display().to_string(), text))
    }

    /// Whether a module that the main script imports was evaluated.
    pub fn is_loaded(&self, path: &str) -> bool {
        self.find(None, path).is_ok_and(|(name, _)| self.state().loaded.contains_key(&name))
    }

    fn load(&self, engine: &Engine, name: &str, text: &str) -> ScriptResult<Shared<Module>> {
        self.context.sources.add(name, text);
        let mut ast = self.turns.compile(engine, &Scope::new(), text).map_err(|refused| match refused {
            Refused::Syntax(error) => error.into(),
            Refused::Closure(failure, position) => {
                let mut error: Box<EvalAltResult> = failure.into();
                error.set_position(position);
                error
            }
        })?;
        ast.set_source(name);
        self.context.key_orders.learn(&ast);
        self.context.caught.learn(&ast);
        Ok(Module::eval_ast_as_new(Scope::new(), &ast, engine)?.into())
    }
}

fn not_found(path: &str, file: &Path) -> Box<EvalAltResult> {
    let stdlib = STDLIB.iter().map(|(name, _)| *name);
    let help = match nearest(path, stdlib) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("create `{}`, or import one of the stdlib", file.display()),
    };
    fail(format!("there is no module `{path}`")).help(help).into()
}

/// Without `./`, so that one file has one name.
fn tidy(file: &Path) -> PathBuf {
    file.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

impl ModuleResolver for Modules {
    fn resolve(
        &self,
        engine: &Engine,
        importer: Option<&str>,
        path: &str,
        position: Position,
    ) -> ScriptResult<Shared<Module>> {
        let at_import = |mut error: Box<EvalAltResult>| {
            error.set_position(position);
            error
        };
        let (name, text) = self.find(importer, path).map_err(at_import)?;
        {
            let mut state = self.state();
            if let Some(module) = state.loaded.get(&name) {
                return Ok(module.clone());
            }
            if state.loading.contains(&name) {
                let cycle = fail(format!("module `{path}` imports itself"))
                    .help(format!("break the cycle {} -> {name}", state.loading.join(" -> ")));
                return Err(at_import(cycle.into()));
            }
            state.loading.push(name.clone());
        }
        let result = self.load(engine, &name, &text);
        let mut state = self.state();
        state.loading.retain(|loading| *loading != name);
        let module =
            result.map_err(|error| Box::new(EvalAltResult::ErrorInModule(name.clone(), error, position)))?;
        state.loaded.insert(name, module.clone());
        Ok(module)
    }
}
