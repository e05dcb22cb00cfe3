//! JMESPath on what commands print.

use serde_json::Value;

#[derive(Debug, thiserror::Error)]
#[error("the query `{query}` failed: {reason}")]
pub struct QueryError {
    pub query: String,
    /// In the words of the query language's own parser.
    pub reason: String,
}

/// What `query` finds in `value`; the whole where there is none.
pub fn query(query: Option<&str>, value: Value) -> Result<Value, QueryError> {
    let Some(text) = query else { return Ok(value) };
    let failed = |reason: String| QueryError { query: text.to_owned(), reason };
    let expression = jmespath::compile(text).map_err(|error| failed(error.to_string()))?;
    let found = expression.search(value).map_err(|error| failed(error.to_string()))?;
    serde_json::to_value(&*found).map_err(|error| failed(error.to_string()))
}

/// Why a text is no query; `None` where it is one.
pub(super) fn mistake(text: &str) -> Option<String> {
    jmespath::compile(text).err().map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}
