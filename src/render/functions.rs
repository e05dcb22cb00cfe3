//! The functions of Terraform that user-data templates use. Terraform has more; a template that calls one
//! which is missing here cannot be measured, and says so.

use hcl::Value;
use hcl::eval::{Context, FuncArgs, FuncDef, ParamType};

/// Makes the functions known to an evaluation.
pub(super) fn declare(context: &mut Context<'_>) {
    let text = || ParamType::String;
    let two = || [text(), text()];
    context.declare_func("trimsuffix", FuncDef::builder().params(two()).build(trimsuffix));
    context.declare_func("trimprefix", FuncDef::builder().params(two()).build(trimprefix));
    context.declare_func("trimspace", FuncDef::builder().param(text()).build(trimspace));
    context.declare_func("replace", FuncDef::builder().params([text(), text(), text()]).build(replace));
    context.declare_func("lower", FuncDef::builder().param(text()).build(lower));
    context.declare_func("upper", FuncDef::builder().param(text()).build(upper));
    context.declare_func("jsonencode", FuncDef::builder().param(ParamType::Any).build(jsonencode));
    context.declare_func("tostring", FuncDef::builder().param(ParamType::Any).build(tostring));
    context.declare_func("base64encode", FuncDef::builder().param(text()).build(base64encode));
}

fn strings<const N: usize>(args: FuncArgs) -> Result<[String; N], String> {
    let texts = args.into_values().into_iter().map(|value| value.as_str().unwrap_or_default().to_owned());
    <[String; N]>::try_from(texts.collect::<Vec<_>>())
        .map_err(|given| format!("{N} texts, not {}", given.len()))
}

fn trimsuffix(args: FuncArgs) -> Result<Value, String> {
    let [text, suffix] = strings(args)?;
    Ok(text.strip_suffix(&suffix).unwrap_or(&text).into())
}

fn trimprefix(args: FuncArgs) -> Result<Value, String> {
    let [text, prefix] = strings(args)?;
    Ok(text.strip_prefix(&prefix).unwrap_or(&text).into())
}

fn trimspace(args: FuncArgs) -> Result<Value, String> {
    let [text] = strings(args)?;
    Ok(text.trim().into())
}

/// A text between slashes is a regular expression, as in Terraform.
fn replace(args: FuncArgs) -> Result<Value, String> {
    let [text, from, to] = strings(args)?;
    match from.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
        Some(pattern) if !pattern.is_empty() => {
            let pattern = regex::Regex::new(pattern).map_err(|error| error.to_string())?;
            Ok(pattern.replace_all(&text, to.as_str()).into_owned().into())
        }
        _ => Ok(text.replace(&from, &to).into()),
    }
}

fn lower(args: FuncArgs) -> Result<Value, String> {
    let [text] = strings(args)?;
    Ok(text.to_lowercase().into())
}

fn upper(args: FuncArgs) -> Result<Value, String> {
    let [text] = strings(args)?;
    Ok(text.to_uppercase().into())
}

fn jsonencode(args: FuncArgs) -> Result<Value, String> {
    let values = args.into_values();
    serde_json::to_string(values.first().unwrap_or(&Value::Null)).map(Value::from).map_err(|e| e.to_string())
}

fn tostring(args: FuncArgs) -> Result<Value, String> {
    match args.into_values().into_iter().next() {
        Some(Value::String(text)) => Ok(text.into()),
        Some(Value::Number(number)) => Ok(number.to_string().into()),
        Some(Value::Bool(value)) => Ok(value.to_string().into()),
        other => Err(format!("{other:?} has no text")),
    }
}

fn base64encode(args: FuncArgs) -> Result<Value, String> {
    use base64::Engine as _;
    let [text] = strings(args)?;
    Ok(base64::engine::general_purpose::STANDARD.encode(text).into())
}
