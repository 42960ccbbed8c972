//! Findings in the words of the edge samples.

use hedef_core::ModelId;

use super::findings::Finding;
use crate::bundle::Timestamp;
use crate::json::write_str;

/// What is told of an answer beside what was found.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// The request's id.
    pub id: &'a str,
    /// What answered.
    pub model: &'a ModelId,
    /// The seconds since the beginning of 1970.
    pub seconds: u64,
}

/// Writes `{"inferences":[…]}`: of each finding an `entity` with its `tag` and its `box` in fractions of the image, or a
/// `classification` with its `tag`.
///
/// Source: the HTTP extensions of Azure Video Analyzer (Azure-Samples, `edge-modules/extensions`). They answer with 204 where
/// nothing was found.
#[must_use]
pub fn inferences(findings: &[Finding]) -> Vec<u8> {
    let mut out = b"{\"inferences\":[".to_vec();
    for (at, finding) in findings.iter().enumerate() {
        let kind = if finding.place.is_some() { "entity" } else { "classification" };
        let separator = if at > 0 { "," } else { "" };
        text(&mut out, &[separator, "{\"type\":\"", kind, "\",\"", kind, "\":{\"tag\":{\"value\":"]);
        write_str(&mut out, &finding.class);
        number(&mut out, ",\"confidence\":", finding.confidence);
        out.push(b'}');
        if let Some(place) = finding.place {
            number(&mut out, ",\"box\":{\"l\":", place.left);
            number(&mut out, ",\"t\":", place.top);
            number(&mut out, ",\"w\":", place.width);
            number(&mut out, ",\"h\":", place.height);
            out.push(b'}');
        }
        text(&mut out, &["}}"]);
    }
    text(&mut out, &["]}"]);
    out
}

/// Writes `{"id","project","iteration","created","predictions":[…]}`: of each finding its `tagName`, its `probability` and its
/// `boundingBox` in fractions of the image, which is null for the image as a whole. The project is the model, the iteration its
/// version; tags have no ids.
///
/// Source: the containers that Custom Vision exports, and its prediction API 3.0.
#[must_use]
pub fn predictions(findings: &[Finding], scored: Scored<'_>) -> Vec<u8> {
    let mut out = b"{\"id\":".to_vec();
    write_str(&mut out, scored.id);
    text(&mut out, &[",\"project\":"]);
    write_str(&mut out, scored.model.name.as_str());
    text(&mut out, &[",\"iteration\":"]);
    write_str(&mut out, &scored.model.version.to_string());
    text(&mut out, &[",\"created\":"]);
    write_str(&mut out, &Timestamp::of_seconds(scored.seconds).to_string());
    text(&mut out, &[",\"predictions\":["]);
    for (at, finding) in findings.iter().enumerate() {
        let separator = if at > 0 { "," } else { "" };
        number(&mut out, &[separator, "{\"probability\":"].concat(), finding.confidence);
        text(&mut out, &[",\"tagId\":\"\",\"tagName\":"]);
        write_str(&mut out, &finding.class);
        match finding.place {
            Some(place) => {
                number(&mut out, ",\"boundingBox\":{\"left\":", place.left);
                number(&mut out, ",\"top\":", place.top);
                number(&mut out, ",\"width\":", place.width);
                number(&mut out, ",\"height\":", place.height);
                out.push(b'}');
            }
            None => text(&mut out, &[",\"boundingBox\":null"]),
        }
        out.push(b'}');
    }
    text(&mut out, &["]}"]);
    out
}

fn text(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

/// Findings hold finite numbers only.
fn number(out: &mut Vec<u8>, key: &str, value: f32) {
    text(out, &[key, zmij::Buffer::new().format(value)]);
}
