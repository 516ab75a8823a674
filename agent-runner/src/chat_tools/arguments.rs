//! The arguments of a call, as a model passes them: checked against what the tool takes, with words that a model can act on.

use serde_json::{Map, Value};

use super::{Definition, shortened};

/// The arguments of one call.
pub(super) struct Arguments {
    tool: &'static str,
    given: Map<String, Value>,
}

impl Arguments {
    /// Takes `given` for the arguments of a tool.
    ///
    /// # Errors
    /// When it is no object, or has arguments that the tool does not take: a misspelt one would be lost otherwise.
    pub(super) fn of(definition: &Definition, given: Value) -> Result<Self, String> {
        let tool = definition.name;
        let given = match given {
            Value::Object(given) => given,
            Value::Null => Map::new(),
            other => return Err(format!("the arguments of {tool} are an object, not {}", kind(&other))),
        };
        // In one order, whatever a map of JSON keeps.
        let mut taken = definition.arguments();
        taken.sort_unstable();
        if let Some(unknown) = given.keys().find(|name| !taken.contains(&name.as_str())) {
            let list = if taken.is_empty() { "none".to_owned() } else { taken.join(", ") };
            return Err(format!("{tool} takes no argument {:?}; it takes {list}", shortened(unknown)));
        }
        Ok(Self { tool, given })
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, name: &str) -> Result<String, String> {
        self.optional(name)?.ok_or_else(|| format!("{} needs the argument {name:?}, a text", self.tool))
    }

    /// A text that may be there; `null` is none.
    pub(super) fn optional(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.given.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a text", &other)),
        }
    }

    /// A yes or no that may be there.
    pub(super) fn optional_bool(&mut self, name: &str) -> Result<Option<bool>, String> {
        match self.given.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    fn wrong(&self, name: &str, wanted: &str, given: &Value) -> String {
        format!("the argument {name:?} of {} is {wanted}, not {}", self.tool, kind(given))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
