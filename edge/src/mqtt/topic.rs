//! Filters of topics, and topics made from what matched them.

/// What `filter` matches in `topic`: the levels that stood for its `+`, then what stood for its `#`. `None`: it does not
/// match.
///
/// As MQTT 3.1.1, 4.7 has it: `a/#` matches `a` too, and wildcards at the start do not match topics that begin with `$`.
#[must_use]
pub fn captures<'t>(filter: &str, topic: &'t str) -> Option<Vec<&'t str>> {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return None;
    }
    let mut captures = Vec::new();
    let mut rest = Some(topic);
    let mut filters = filter.split('/');
    loop {
        match (filters.next(), rest) {
            (Some("#"), rest) => {
                captures.push(rest.unwrap_or(""));
                return Some(captures);
            }
            (Some(wanted), Some(found)) => {
                let (level, behind) =
                    found.split_once('/').map_or((found, None), |(level, behind)| (level, Some(behind)));
                if wanted == "+" {
                    captures.push(level);
                } else if wanted != level {
                    return None;
                }
                rest = behind;
            }
            (None, None) => return Some(captures),
            _ => return None,
        }
    }
}

/// Whether MQTT 3.1.1 allows that filter. Subscriptions that clients share, an extension, are none: their messages come
/// by other topics than the filter says.
#[must_use]
pub fn is_filter(filter: &str) -> bool {
    let level = |level: &str| level == "+" || level == "#" || !level.contains(['+', '#']);
    let in_the_end = |filter: &str| filter.find('#').is_none_or(|at| at == filter.len() - 1);
    !filter.is_empty()
        && !filter.contains('\0')
        && !filter.starts_with("$share/")
        && filter.split('/').all(level)
        && in_the_end(filter)
}

/// Fills a pattern in: `{topic}` is the whole topic, `{1}` the first capture, and so on.
#[must_use]
pub fn fill(pattern: &str, topic: &str, captures: &[&str]) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, behind)) = behind.split_once('}') else {
            rest = "";
            break;
        };
        out.push_str(value(name, topic, captures).unwrap_or_default());
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn value<'t>(name: &str, topic: &'t str, captures: &[&'t str]) -> Option<&'t str> {
    if name == "topic" {
        return Some(topic);
    }
    captures.get(name.parse::<usize>().ok()?.checked_sub(1)?).copied()
}

/// Whether `pattern` makes a topic from whatever `filter` matches.
#[must_use]
pub fn is_pattern(pattern: &str, filter: &str) -> bool {
    let count = filter.split('/').filter(|level| matches!(*level, "+" | "#")).count();
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((name, behind)) = behind.split_once('}') else { return false };
        let known = name == "topic" || name.parse().is_ok_and(|number: usize| number >= 1 && number <= count);
        if !known || before.contains(['+', '#', '\0', '}']) {
            return false;
        }
        rest = behind;
    }
    !pattern.is_empty() && !rest.contains(['+', '#', '\0', '}'])
}

/// Whether what `pattern` makes of a topic that `filter` matches is matched again, so that it would never end.
#[must_use]
pub fn feeds_itself(pattern: &str, filter: &str) -> bool {
    let levels = filter.split('/').map(|level| match level {
        "+" => "x",
        "#" => "x/y",
        other => other,
    });
    let topic = levels.collect::<Vec<_>>().join("/");
    let Some(found) = captures(filter, &topic) else { return false };
    captures(filter, &fill(pattern, &topic, &found)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_specification_s_examples_do() {
        let matches = |filter, topic| captures(filter, topic).is_some();
        for topic in ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"] {
            assert!(matches("sport/tennis/player1/#", topic), "{topic}");
        }
        assert!(matches("sport/#", "sport") && matches("#", "a/b") && matches("/+", "/finance"));
        assert!(matches("sport/+", "sport/") && !matches("sport/+", "sport") && !matches("+", "/finance"));
        assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
        assert!(!matches("#", "$SYS/x") && !matches("+/x", "$SYS/x") && matches("$SYS/#", "$SYS/x"));
    }

    #[test]
    fn what_matched_fills_the_pattern() {
        let found = captures("in/+/x/#", "in/a/x/b/c").unwrap();
        assert_eq!(found, ["a", "b/c"]);
        assert_eq!(fill("out/{1}/{2}/{topic}", "in/a/x/b/c", &found), "out/a/b/c/in/a/x/b/c");
    }

    #[test]
    fn what_would_never_end_is_seen() {
        for (pattern, filter) in [("b", "#"), ("a/{1}/x", "a/#"), ("{topic}", "a"), ("{1}/in", "+/in")] {
            assert!(feeds_itself(pattern, filter), "{pattern} {filter}");
        }
        for (pattern, filter) in [("b/{topic}", "a/#"), ("{1}/out", "+/in"), ("a/b/{1}", "a/+")] {
            assert!(!feeds_itself(pattern, filter), "{pattern} {filter}");
        }
    }

    #[test]
    fn what_can_be_no_filter_or_pattern_is_seen() {
        assert!(["+", "#", "a/+/b", "/", "a/#"].into_iter().all(is_filter));
        assert!(!["", "a+", "#/a", "a/#/b", "a#", "$share/g/a"].into_iter().any(is_filter));
        assert!(["a", "{topic}", "a/{1}/{2}"].into_iter().all(|pattern| is_pattern(pattern, "+/#")));
        assert!(!["", "a/+", "{3}", "{0}", "{x}", "{1", "a}"].into_iter().any(|pattern| is_pattern(pattern, "+/#")));
    }
}
