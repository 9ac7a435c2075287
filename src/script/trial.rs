//! The `test_…` functions of a script or a module of the stdlib: each runs alone, beside the imports and constants of its
//! file and without the rest of it.

use rhai::{AST, ASTFlags, Scope, Stmt};

use super::error::Error;
use super::host::{Host, Script};
use super::modules::STDLIB;

impl Host {
    /// A module of the stdlib as a script.
    pub fn load_stdlib(&self, name: &str) -> Option<Result<Script, Error>> {
        let (_, text) = STDLIB.iter().find(|(module, _)| *module == name)?;
        Some(self.compile(&format!("stdlib/{name}.rhai"), text, &Scope::new()))
    }

    /// Runs one of the [`tests`] of a script.
    ///
    /// # Errors
    /// It failed, where its `assert`s did or elsewhere.
    pub fn try_one(&self, script: &Script, test: &str) -> Result<(), Error> {
        self.check(script)?;
        let around = AST::new(setting(&script.ast), script.ast.shared_lib().clone());
        let call = self.compile("test", &format!("{test}();"), &Scope::new())?;
        let mut whole = around.merge(&call.ast);
        whole.set_source(&script.source);
        self.context().clear_interrupt();
        let run = self.eval(&mut Scope::new(), &whole, &script.source);
        run.map(drop).map_err(|error| match error {
            // The call is nobody's line.
            Error::Failed(mut diagnostic) if !diagnostic.frames.is_empty() => {
                diagnostic.frames.remove(0);
                Error::Failed(diagnostic)
            }
            error => error,
        })
    }
}

/// The names of the functions that are tests: no parameters, and a name that begins with `test_`.
pub fn tests(script: &Script) -> Vec<String> {
    let functions = script.ast.iter_functions();
    let tests = functions.filter(|function| function.name.starts_with("test_") && function.params.is_empty());
    let mut names: Vec<_> = tests.map(|function| function.name.to_string()).collect();
    names.sort();
    names
}

/// The statements that functions rely on.
fn setting(ast: &AST) -> Vec<Stmt> {
    let sets = |statement: &&Stmt| match statement {
        Stmt::Import(..) => true,
        Stmt::Var(_, flags, _) => flags.contains(ASTFlags::CONSTANT),
        _ => false,
    };
    ast.statements().iter().filter(sets).cloned().collect()
}

#[cfg(test)]
mod trials {
    use super::*;
    use crate::script::HostOptions;

    #[test]
    fn tests_run_alone_with_what_stands_around_them() {
        let host = Host::new(HostOptions::default());
        let text = "import \"metrics\" as metrics;\nconst HALF = 0.5;\nassert(false, \"the script ran\");\n\
                    fn test_b() { assert(metrics::recovered(1.5, 3.0, 1.0) == 0.25 * global::HALF * 2, \"no\"); }\n\
                    fn test_a() { helper(2) }\nfn helper(x) { assert(x == 3, `${x} is not 3`); }\nfn test_of(x) { x }\n";
        let script = host.compile("a.rhai", text, &Scope::new()).unwrap();
        assert_eq!(tests(&script), ["test_a", "test_b"]);
        host.try_one(&script, "test_b").unwrap();
        let error = host.try_one(&script, "test_a").unwrap_err();
        let drawn = host.render(&error, false);
        assert!(
            drawn.starts_with("error: 2 is not 3\n  --> a.rhai:6:16\n") && !drawn.contains("> test:"),
            "{drawn}"
        );
    }
}
