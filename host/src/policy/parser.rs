//! The sandbox of the parser: text that an attacker wrote is taken apart where nothing but the sandbox can suffer.

use portcullis_shell::{Refusal, Tree};
use wasmtime::component::{Component, InstancePre};

use super::{
    bindings::parser::{ParserIndices, Refusal as Refused},
    cache::{Cache, Form, Key},
    chain::ChainError,
    decision::valid_code,
    engine::{Engine, EngineError},
    limits::{Fault, Guest},
};
use crate::config::Grants;

const COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/portcullis-shell.wasm"));

/// Takes scripts apart, each in a fresh instance.
pub struct Parser {
    engine: Engine,
    pre: InstancePre<Guest>,
    exports: ParserIndices,
}

impl Parser {
    pub(crate) fn load(engine: &Engine, cache: &Cache) -> Result<Self, ChainError> {
        let component = component(engine, cache)?;
        let ready = || {
            let pre = engine.linker().instantiate_pre(&component)?;
            Ok((ParserIndices::new(&pre)?, pre))
        };
        let (exports, pre) = ready().map_err(EngineError::Configure)?;
        Ok(Self { engine: engine.clone(), pre, exports })
    }

    /// Takes a script apart. Bounded like a decision.
    ///
    /// # Errors
    ///
    /// Why it is refused; also if it takes more time, memory or stack than a decision may.
    pub async fn parse(&self, text: &str) -> Result<Tree, Refusal> {
        match Box::pin(self.ask(text)).await {
            Ok(Ok(bytes)) => portcullis_shell::decode(&bytes).ok_or_else(|| too_complex("answered with no tree")),
            Ok(Err(refused)) => Err(Refusal::new(valid_code(&refused.code).unwrap_or("syntax-error"), refused.message)),
            Err(fault) => Err(too_complex(&fault.to_string())),
        }
    }

    async fn ask(&self, text: &str) -> Result<Result<Vec<u8>, Refused>, Fault> {
        let mut store = self.engine.store(&Grants::default());
        let instance = self.engine.bounded(&mut store, async |store| self.pre.instantiate_async(store).await).await?;
        let parse =
            async |store: &mut wasmtime::Store<Guest>| self.exports.load(&mut *store, &instance)?.call_parse(store, text).await;
        self.engine.bounded(&mut store, parse).await
    }
}

fn too_complex(what: &str) -> Refusal {
    Refusal::new("too-complex", format!("the parser {what}; write a simpler script, or send its commands one by one"))
}

fn component(engine: &Engine, cache: &Cache) -> Result<Component, ChainError> {
    let key = Key::of(engine, &[COMPONENT]);
    if let Some((component, _)) = cache.find(engine, &key)? {
        return Ok(component);
    }
    let component = Component::from_binary(engine.wasmtime(), COMPONENT).map_err(EngineError::Configure)?;
    cache.keep(&key, Form::Plain, &component)?;
    Ok(component)
}
