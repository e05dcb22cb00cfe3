//! Where in a document a value stands, as people and JSONPath write it: `$.local[0].vcpu`.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// Steps from the root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<Step>);

impl Path {
    pub fn root() -> Path {
        Path::default()
    }

    #[must_use]
    pub fn key(&self, name: &str) -> Path {
        self.with(Step::Key(name.to_owned()))
    }

    #[must_use]
    pub fn index(&self, index: usize) -> Path {
        self.with(Step::Index(index))
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    pub fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    fn with(&self, step: Step) -> Path {
        let mut path = self.clone();
        path.push(step);
        path
    }
}

/// Whether RFC 9535 lets a name stand after a dot without quotes.
fn is_plain(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.0 {
            match step {
                Step::Key(name) if is_plain(name) => write!(f, ".{name}")?,
                Step::Key(name) => write!(f, "[{name:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_need_quotes_get_them() {
        let path = Path::root().key("providers").key("cloud-eu").index(3).key("vcpu");
        assert_eq!(path.to_string(), r#"$.providers["cloud-eu"][3].vcpu"#);
    }
}
