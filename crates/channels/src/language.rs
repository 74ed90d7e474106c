//! The one expression language: MiniJinja expressions, strict about what is undefined, with fuel.
//!
//! Beyond MiniJinja's own filters and tests there are:
//! - `at('a.b.0.c')`: what stands there in the reply's JSON body, or `none`
//! - `first_of(x, y, …)`: the first that is neither none nor undefined, or `none`
//! - `flatten(list, 'key')`: the items of `list` and, after each, those of its list under `key`, all the way down
//! - `text|plain`: the text without what looks like HTML tags, for showing a server's words to people
//! - `text|unix_s`: the seconds since 1970 that a date and time stands for (RFC 3339; UTC where it names no zone), or
//!   `none`
//! - `omit`: leaves out the leaf whose value it is

use crate::scope::{DeliveryNames, ReplyNames};
use minijinja::value::Object;
use minijinja::{Environment, Error, ErrorKind, Expression, State, UndefinedBehavior, Value};
use std::sync::{Arc, LazyLock};

/// Steps that one evaluation may take; a manifest's expressions need a few dozen.
const FUEL: u64 = 50_000;
/// Most items that `flatten` gives.
const MOST_FLATTENED: usize = 100_000;

/// One environment serves all manifests: nothing of a manifest or a comment is ever stored in it.
static LANGUAGE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_function("at", at);
    environment.add_function("first_of", first_of);
    environment.add_function("flatten", flatten);
    environment.add_filter("plain", |text: &str| plain(text));
    environment.add_filter("unix_s", unix_s);
    environment.add_global("omit", Value::from_object(Omit));
    environment
});

/// Stands for a leaf that isn't there.
#[derive(Debug)]
struct Omit;

impl Object for Omit {}

/// A compiled expression.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    compiled: Arc<Expression<'static, 'static>>,
    shape: Arc<Shape>,
}

/// What most expressions of a manifest are. These are evaluated without MiniJinja's machine, where it would give the
/// same; wherever that isn't certain (something is undefined), the machine decides.
///
/// Counted by callgrind in a sidecar with a ledger in memory: without these shapes, a delivery takes 153,000 instructions
/// instead of 138,000 through the board's manifest (11 % more), and 178,000 instead of 134,000 through `generic` (33 %).
enum Shape {
    /// A text in quotes or a whole number.
    Fixed(Value),
    /// A name, perhaps with attributes: `settings.author`.
    Path(Vec<String>),
    /// A name or, where it isn't true, `none`.
    PathOrNone(Vec<String>),
    /// A name or, where it isn't true, `omit`: `wxid or omit`.
    PathOrOmit(Vec<String>),
    /// `at('data.id')`.
    At(Vec<String>),
    /// Whether two of these are the same where the first is anything, and otherwise `none`, as an echo is read:
    /// `at('task_id') == delivery_id if at('task_id') else none`.
    SameOrNone(Box<Shape>, Box<Shape>),
    /// Anything else.
    Other,
}

impl Shape {
    fn of(source: &str) -> Self {
        let source = source.trim();
        if let Some(text) = source.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''))
            && !text.contains(['\'', '\\'])
        {
            return Shape::Fixed(Value::from(text));
        }
        if !source.is_empty()
            && source.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(number) = source.parse::<i64>()
        {
            return Shape::Fixed(Value::from(number));
        }
        if let Some(path) = path(source) {
            return Shape::Path(path);
        }
        let inner = source.strip_prefix("at('").and_then(|rest| rest.strip_suffix("')"));
        if let Some(inner) = inner.filter(|inner| !inner.contains(['\'', '\\'])) {
            return Shape::At(inner.split('.').map(str::to_owned).collect());
        }
        if let Some((first, second)) = Self::same_or_none(source) {
            return Shape::SameOrNone(Box::new(Shape::of(first)), Box::new(Shape::of(second)));
        }
        match source.split_once(" or ").map(|(first, second)| (path(first), second.trim())) {
            Some((Some(path), "none")) => Shape::PathOrNone(path),
            Some((Some(path), "omit")) => Shape::PathOrOmit(path),
            _ => Shape::Other,
        }
    }

    /// The two sides of a [`Shape::SameOrNone`], each of a shape that is one word.
    fn same_or_none(source: &str) -> Option<(&str, &str)> {
        let (same, given) = source.strip_suffix(" else none")?.split_once(" if ")?;
        let (first, second) = same.split_once(" == ")?;
        let is_word = |source: &str| !source.contains(char::is_whitespace);
        (first == given && is_word(first) && is_word(second)).then_some((first, second))
    }

    /// `None` where MiniJinja must decide.
    fn eval(&self, scope: &Value) -> Option<Evaluated> {
        Some(match self {
            Shape::Fixed(value) => Evaluated::Value(value.clone()),
            Shape::Path(path) => Evaluated::Value(follow(scope, path)?),
            Shape::PathOrNone(path) => {
                let value = follow(scope, path)?;
                Evaluated::Value(if value.is_true() { value } else { Value::from(()) })
            }
            Shape::PathOrOmit(path) => {
                let value = follow(scope, path)?;
                if value.is_true() { Evaluated::Value(value) } else { Evaluated::Omit }
            }
            Shape::At(path) => {
                let reply = scope.downcast_object_ref::<ReplyNames>()?;
                Evaluated::Value(reply.at(path.iter().map(String::as_str)))
            }
            Shape::SameOrNone(first, second) => {
                let value = |shape: &Shape| match shape.eval(scope) {
                    Some(Evaluated::Value(value)) => Some(value),
                    _ => None,
                };
                let first = value(first)?;
                let same = if first.is_true() { Some(first == value(second)?) } else { None };
                Evaluated::Value(same.map_or_else(|| Value::from(()), Value::from))
            }
            Shape::Other => return None,
        })
    }
}

/// What an expression gives.
enum Evaluated {
    Value(Value),
    /// Not as a value: there is one `omit` for all threads, and each would wait for the others to count its use.
    Omit,
}

/// The names of a path of plain names that mean nothing by themselves in MiniJinja.
fn path(source: &str) -> Option<Vec<String>> {
    const WORDS: [&str; 10] = ["none", "None", "true", "True", "false", "False", "not", "is", "in", "omit"];
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !WORDS.contains(&name)
    };
    let names: Vec<&str> = source.trim().split('.').collect();
    names.iter().all(|name| is_name(name)).then(|| names.into_iter().map(str::to_owned).collect())
}

fn follow(scope: &Value, path: &[String]) -> Option<Value> {
    let step = |value: &Value, name: &String| value.get_attr(name).ok().filter(|value| !value.is_undefined());
    let (start, rest) = match (path, scope.downcast_object_ref::<DeliveryNames>()) {
        // The settings are the same for all, and taking them for a moment is what threads wait for each other at.
        ([first, second, rest @ ..], Some(names)) if first == "settings" => {
            (step(&names.settings, second)?, rest)
        }
        ([first, rest @ ..], _) => (step(scope, first)?, rest),
        ([], _) => return None,
    };
    rest.iter().try_fold(start, |value, name| step(&value, name))
}

impl std::fmt::Debug for Expr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

impl Expr {
    /// Compiles an expression.
    ///
    /// # Errors
    /// With MiniJinja's message, when it can't be parsed.
    pub fn compile(source: &str) -> Result<Self, String> {
        let compiled =
            LANGUAGE.compile_expression_owned(source.to_owned()).map_err(|error| explain(source, &error))?;
        let shape = Arc::new(Shape::of(source));
        Ok(Self { source: source.into(), compiled: Arc::new(compiled), shape })
    }

    /// Its source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it refers to this name.
    pub fn uses(&self, name: &str) -> bool {
        self.compiled.undeclared_variables(false).contains(name)
    }

    /// Evaluates it. An undefined result is an error: a misspelt name must not pass for an empty one.
    ///
    /// # Errors
    /// With MiniJinja's message, naming the expression.
    pub fn eval(&self, scope: &Value) -> Result<Value, String> {
        Ok(self.given(scope)?.unwrap_or_else(|| Value::from_object(Omit)))
    }

    /// The same, `None` for `omit`.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub(crate) fn given(&self, scope: &Value) -> Result<Option<Value>, String> {
        match self.shape.eval(scope) {
            Some(Evaluated::Value(value)) => return Ok(Some(value)),
            Some(Evaluated::Omit) => return Ok(None),
            None => {}
        }
        let value = self.compiled.eval(scope).map_err(|error| explain(&self.source, &error))?;
        if value.is_undefined() {
            return Err(format!("`{}` is undefined", self.source));
        }
        Ok((!is_omitted(&value)).then_some(value))
    }

    /// Evaluates a predicate.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub fn holds(&self, scope: &Value) -> Result<bool, String> {
        Ok(self.eval(scope)?.is_true())
    }

    /// Evaluates to a text; none and `omit` give the empty one.
    ///
    /// # Errors
    /// As [`Expr::eval`].
    pub fn text(&self, scope: &Value) -> Result<String, String> {
        let given = self.given(scope)?.filter(|value| !value.is_none());
        Ok(given.map(|value| value.to_string()).unwrap_or_default())
    }
}

/// Whether this value leaves its leaf out.
fn is_omitted(value: &Value) -> bool {
    value.downcast_object_ref::<Omit>().is_some()
}

fn explain(source: &str, error: &Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    format!("`{source}`: {detail}")
}

/// Reads the reply itself: its whole body as a value would cost more than all the rest of a judgement.
fn at(state: &State, path: &str) -> Value {
    let names = state.lookup(ReplyNames::ITSELF);
    let reply = names.as_ref().and_then(|names| names.downcast_object_ref::<ReplyNames>());
    reply.map_or_else(|| Value::from(()), |reply| reply.at(path.split('.')))
}

fn first_of(values: minijinja::value::Rest<Value>) -> Value {
    values
        .iter()
        .find(|value| !value.is_none() && !value.is_undefined())
        .cloned()
        .unwrap_or_else(|| Value::from(()))
}

/// A text without what looks like HTML tags, its words parted by single blanks.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut in_tag = false;
    let mut words = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => in_tag = true,
            // A tag ends a word: two headings must not run into each other.
            '>' if in_tag => {
                in_tag = false;
                words.push(' ');
            }
            _ if in_tag => {}
            _ => words.push(character),
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As a float: that is what times with fractions need.
fn unix_s(text: &Value) -> Option<f64> {
    let text = text.as_str()?;
    let time = text.parse::<jiff::Timestamp>().or_else(|_| format!("{text}Z").parse::<jiff::Timestamp>());
    time.ok().map(|time| time.as_millisecond() as f64 / 1000.0)
}

fn flatten(list: &Value, key: &str) -> Result<Value, Error> {
    let mut flat = Vec::new();
    let mut open = vec![list.clone()];
    while let Some(list) = open.pop() {
        if list.is_none() || list.is_undefined() {
            continue;
        }
        for item in list.try_iter()? {
            let below = item.get_attr(key).unwrap_or_default();
            if !below.is_undefined() && !below.is_none() {
                open.push(below);
            }
            flat.push(item);
            if flat.len() > MOST_FLATTENED {
                return Err(Error::new(ErrorKind::InvalidOperation, "flatten: the list is too long"));
            }
        }
    }
    Ok(Value::from(flat))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::ChannelReply;
    use crate::scope::reply_scope;
    use commentd_delivery::{Comment, DeliveryId};
    use minijinja::context;

    fn eval(source: &str, body: &serde_json::Value) -> Result<Value, String> {
        let reply = ChannelReply { body: body.to_string().into(), ..Default::default() };
        Expr::compile(source)?.eval(&reply_scope(&reply, context! { reply_to => "" }))
    }

    /// What MiniJinja's machine gives; `None` for an error, as which undefined counts.
    fn by_machine(expr: &Expr, scope: &Value) -> Option<Value> {
        expr.compiled.eval(scope).ok().filter(|value| !value.is_undefined())
    }

    #[test]
    fn what_manifests_need_can_be_said() {
        let body = serde_json::json!({
            "code": "1000", "Data": [{"isSendSuccess": true}], "id": 14_287_710_653_886_042_616_u64,
            "data": {"BaseResponse": {"ret": 0}}, "msg": null, "message": "success", "replies":
            [{"id": 1, "replies": [{"id": 2}]}, {"id": 3, "replies": []}],
        });
        for source in [
            "at('code') == '1000'",
            "at('code')|int == 1000",
            "at('Data.0.isSendSuccess')",
            "at('id')|string == '14287710653886042616'",
            "'14287710653886042616'|int == at('id')",
            "at('data.BaseResponse.ret') == 0 and at('data.nothing.here') is none",
            "first_of(at('msg'), at('message')) == 'success'",
            "at('code') in ['1000', '0'] or false",
            "flatten(at('replies'), 'replies')|map(attribute='id')|sort == [1, 2, 3]",
            "at('Data')|length >= 1",
        ] {
            assert!(eval(source, &body).unwrap().is_true(), "{source}");
        }
        let id = eval("at('id')", &body).unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "14287710653886042616");
        let cast = eval("'14287710653886042616'|int", &body).unwrap();
        assert_eq!(serde_json::to_value(&cast).unwrap().as_u64(), Some(14_287_710_653_886_042_616));
    }

    #[test]
    fn a_page_is_read_as_its_words() {
        let page =
            eval("'<h1>Bad Request</h1><p>text is too short &lt; 3</p>'|plain", &serde_json::json!({}));
        assert_eq!(page.unwrap().to_string(), "Bad Request text is too short &lt; 3");
    }

    #[test]
    fn misspelt_names_and_endless_work_are_errors() {
        let body = serde_json::json!({});
        assert!(eval("contnet", &body).is_err());
        assert!(eval("body.data.id", &body).is_err());
        assert!(eval("'abc'|int", &body).is_err());
        assert!(Expr::compile("a +").is_err());
        let endless = "range(10000)|map('string')|map('upper')|map('lower')|map('string')|list|length";
        let scope = context! { body => () };
        // Whatever it costs, it ends; MiniJinja itself bounds `range`.
        let _ = Expr::compile(endless).unwrap().eval(&scope);
    }

    #[test]
    fn shortcuts_give_what_the_machine_gives() {
        let scope = context! {
            a => "text", empty => "", number => 7, nothing => (), settings => context! { b => "x", none_of => () },
        };
        for source in [
            "a",
            "empty",
            "number",
            "nothing",
            "settings.b",
            "settings.none_of",
            "settings",
            "'it'",
            "''",
            "'a b'",
            "12",
            " a ",
            "a or none",
            "empty or none",
            "empty or omit",
            "settings.b or omit",
            "number or none",
            "nothing or omit",
            "a or empty",
            "missing",
            "settings.missing",
            "missing or none",
            "nothing.b",
            "true",
            "none",
            "omit",
            "a.b",
            "'it\\'s'",
            "'a' ~ 'b'",
            "'a' if a else 'b'",
            "not a",
            "007",
            "99999999999999999999",
            "a == a if a else none",
            "a == empty if a else none",
            "empty == a if empty else none",
            "nothing == a if nothing else none",
            "number == 7 if number else none",
            "number == '7' if number else none",
            "settings.b == 'x' if settings.b else none",
            "a == missing if a else none",
            "missing == a if missing else none",
            "empty == missing if empty else none",
            "a == number if empty else none",
            "a == omit if a else none",
            "a == 'a b' if a else none",
        ] {
            let expr = Expr::compile(source).unwrap();
            let machine = by_machine(&expr, &scope);
            let given = expr.eval(&scope).ok();
            let plain =
                |value: &Option<Value>| value.as_ref().map(|value| (is_omitted(value), format!("{value:?}")));
            assert_eq!(plain(&given), plain(&machine), "{source}");
        }
    }

    #[test]
    fn over_a_deliverys_names_shortcuts_give_what_the_machine_gives() {
        let mut full = Comment { content: "hi".into(), ..Comment::default() };
        let to = Arc::make_mut(&mut full.addressing);
        to.wxid = "me".into();
        to.vars = serde_json::from_str(r#"{"a":"b"}"#).unwrap();
        let id = DeliveryId::from_bytes([7; 16]);
        let comments = [full, Comment::default()];
        for (comment, left_ms) in
            comments.iter().flat_map(|comment| [None, Some(0), Some(7)].map(|left| (comment, left)))
        {
            let scope = Value::from_object(DeliveryNames {
                settings: context! { b => "x", empty => "" },
                comment: Arc::new(comment.clone()),
                id,
                digits: id.digits(),
                marker: String::new(),
                unix_ms: 1,
                left_ms,
                trace_id: "".into(),
                began_ms: None,
            });
            for source in [
                "content",
                "content or omit",
                "wxid or omit",
                "vars or omit",
                "vars",
                "delivery_id",
                "delivery_id or omit",
                "marker or omit",
                "left_ms",
                "left_ms or omit",
                "now_s or omit",
                "settings.b",
                "settings.b or omit",
                "settings.empty or omit",
                "settings.b.c",
                "settings or omit",
                "settings",
                "missing or omit",
            ] {
                let expr = Expr::compile(source).unwrap();
                let machine =
                    by_machine(&expr, &scope).map(|value| (!is_omitted(&value)).then(|| value.to_string()));
                let given = expr.given(&scope).ok().map(|given| given.map(|value| value.to_string()));
                assert_eq!(given, machine, "{source}");
            }
        }
    }

    #[test]
    fn at_gives_what_the_machine_gives() {
        let bodies = [
            r#"{"ok":true,"n":null,"id":14287710653886042616,"f":1.5,"a":[{"b":"x"},[7]],"o":{"0":"zero"},"t":"ä"}"#,
            r#"[{"ok":false},"1"]"#,
            "\"text\"",
            "7",
            "null",
            "no json",
            "",
        ];
        for (body, path) in bodies.iter().flat_map(|body| {
            [
                "ok", "n", "n.x", "id", "f", "a", "a.0.b", "a.0.b.c", "a.1.0", "a.2", "a.x", "a.-1", "o.0",
                "t", "0", "0.ok", "1", "",
            ]
            .map(|path| (*body, path))
        }) {
            let reply = ChannelReply { status: 200, body: body.into(), ..Default::default() };
            let scope = reply_scope(&reply, context! { content => "hi" });
            let expr = Expr::compile(&format!("at('{path}')")).unwrap();
            assert!(matches!(*expr.shape, Shape::At(_)));
            let json = |value: Value| serde_json::to_string(&value).unwrap();
            let machine = expr.compiled.eval(&scope).unwrap();
            assert_eq!(json(expr.eval(&scope).unwrap()), json(machine), "{path} of {body}");
        }
    }

    #[test]
    fn omit_is_told_apart_from_text() {
        let omitted = eval("'x' if reply_to else omit", &serde_json::json!({})).unwrap();
        assert!(is_omitted(&omitted));
        assert!(!is_omitted(&Value::from("omit")));
    }
}
