//! A message's body in, an answer's body out, through the protocol code of the server.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedef_core::image::Plan;
use hedef_core::repository::{Repository, State};
use hedef_core::{Error, Kind, Model, ModelId, Request, Signature};
use hedef_protocols::{DecodeLimits, azure, csv, image, npy, v2};
use hedef_server::work;
use tokio_util::sync::CancellationToken;

use crate::filter::Filter;
use crate::watchdog::Beat;

/// The most values that the JSON of one message may hold.
const MOST_ELEMENTS: usize = 1 << 20;

/// The most bytes of memory that decoding the image of one message may take: enough for twelve million pixels.
const MOST_IMAGE_BYTES: usize = 128 << 20;

/// How long to wait for a model that is not ready, or busy.
const PAUSE: Duration = Duration::from_secs(1);

/// How often to ask one again that is busy before the message is answered with the failure.
const TRIES: usize = 30;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The model version that gave it.
    pub model: ModelId,
    /// What it says, in JSON. None where the filter holds it back.
    pub body: Option<Vec<u8>>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The model; none means the only one there is.
    pub model: Option<&'q str>,
    /// What the body is.
    pub content_type: Option<&'q str>,
    /// The body.
    pub body: &'q [u8],
    /// Which answers are wanted, and how many came before.
    pub filter: Option<(&'q Filter, u64)>,
    /// When it is too late to ask a model.
    pub due: Option<Instant>,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ScoreError {
    #[error(transparent)]
    Core(#[from] hedef_core::Error),
    #[error(transparent)]
    Protocol(#[from] hedef_protocols::Error),
    #[error(
        "content type `{0}` is not supported: expected application/json, application/octet-stream, text/csv, \
         application/x-npy, image/jpeg or image/png"
    )]
    ContentType(String),
    #[error(
        "the model takes no images: say in its model.toml, under [image], how one becomes its input; an empty [image] is enough \
         where that follows from the model"
    )]
    NoImages,
    #[error("the image: decoding it takes more than {MOST_IMAGE_BYTES} bytes of memory")]
    LargeImage,
    #[error("the process ended each time this message was scored")]
    Deadly,
    #[error("the device stops")]
    Stopping,
    #[error("the message is too old")]
    Late,
}

impl ScoreError {
    /// The kind of this failure.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Core(error) => error.kind(),
            Self::Protocol(error) => error.kind(),
            Self::ContentType(_) | Self::NoImages | Self::LargeImage | Self::Deadly => Kind::InvalidArgument,
            Self::Stopping => Kind::Unavailable,
            Self::Late => Kind::DeadlineExceeded,
        }
    }

    /// What those outside the device are told.
    #[must_use]
    pub fn told(&self) -> String {
        match self.kind() {
            Kind::Internal => "the device failed on this message: its log tells why".into(),
            _ => self.to_string(),
        }
    }
}

/// How an answer is to be told.
enum Form<'m> {
    /// As what was found on an image.
    Inferences(&'m Plan, image::Frame),
    /// As the rows of `/score`.
    Rows,
    /// As Open Inference Protocol v2 has it.
    V2(v2::Reply),
}

/// Has a question answered. A model that is being loaded is waited for, however long that takes, and one that is busy for
/// a while; until `stop`, which ends the waiting with [`ScoreError::Stopping`], and no longer than the question is worth it.
pub async fn score(
    repository: &Arc<Repository>,
    question: Question<'_>,
    stop: &CancellationToken,
    beat: &Beat,
) -> Result<Answer, ScoreError> {
    let mut tries = 0;
    loop {
        beat.turn();
        if question.due.is_some_and(|due| due <= Instant::now()) {
            return Err(ScoreError::Late);
        }
        match try_score(repository, question, beat).await {
            Err(ScoreError::Core(Error::NotReady { ref model, .. })) if is_coming(repository, model) => (),
            Err(ScoreError::Core(ref error)) if is_passing(error) && tries < TRIES => tries += 1,
            done => return done,
        }
        tokio::select! { () = tokio::time::sleep(PAUSE) => (), () = stop.cancelled() => return Err(ScoreError::Stopping) }
    }
}

/// Whether asking again may help.
const fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), Kind::ResourceExhausted) || matches!(error, Error::Unloading { .. } | Error::Evicted { .. })
}

/// Whether a model that is not ready will be, or fail to: it is being loaded, or its turn has not come yet.
fn is_coming(repository: &Repository, model: &str) -> bool {
    let mut entries = repository.index().into_iter().filter(|entry| entry.name.as_str() == model);
    entries.any(|entry| entry.state == State::Loading || (entry.version.is_none() && !repository.has_started()))
}

async fn try_score(repository: &Arc<Repository>, question: Question<'_>, beat: &Beat) -> Result<Answer, ScoreError> {
    // It may have to be loaded once more.
    let model = beat.during(find(repository, question.model)).await?;
    ask(&model, question).await
}

/// Has a question answered by this model, now or not at all.
pub async fn ask(model: &Model, question: Question<'_>) -> Result<Answer, ScoreError> {
    let signature = model.signature();
    let (request, form) = decode(question.content_type, question.body, signature, model.image())?;
    let response = model.infer(request).await?;
    if let Some((filter, number)) = question.filter
        && !filter.passes(&response, signature, number)
    {
        return Ok(Answer { model: response.model, body: None });
    }
    let body = match form {
        Form::Inferences(plan, frame) => image::inferences(&image::findings(&response, signature, plan, frame)?),
        Form::Rows => azure::encode(&response, signature),
        Form::V2(reply) => v2::encode(&response, signature, &reply)?.body,
    };
    Ok(Answer { model: response.model, body: Some(body) })
}

/// The model of that name, or the only one that is known.
async fn find(repository: &Arc<Repository>, name: Option<&str>) -> Result<Arc<Model>, Error> {
    let known;
    let name = match name {
        Some(name) => name,
        None => {
            let mut names: Vec<_> = repository.index().into_iter().map(|entry| entry.name.to_string()).collect();
            names.dedup();
            known = names;
            match known.as_slice() {
                [only] => only,
                _ => {
                    let reason = format!("it is not said which model is meant: {} are known", known.len());
                    return Err(Error::Unsupported(reason));
                }
            }
        }
    };
    match repository.model(name, None) {
        Err(Error::Evicted { .. }) => repository.awake(name, None).await,
        found => found,
    }
}

fn decode<'m>(
    content_type: Option<&str>,
    body: &[u8],
    signature: &Signature,
    plan: Option<&'m Plan>,
) -> Result<(Request, Form<'m>), ScoreError> {
    let limits = DecodeLimits { elements: MOST_ELEMENTS, ..DecodeLimits::NONE };
    let media = content_type.map(|found| found.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let media = match media.as_deref() {
        // Those who do not say it send what it looks like.
        None | Some("") => {
            if plan.is_some() && image::is_image(body) {
                "image/*"
            } else if looks_like_json(body) {
                "application/json"
            } else {
                "application/octet-stream"
            }
        }
        Some(media) => media,
    };
    match media {
        "application/json" => json(body, signature, limits),
        "application/octet-stream" => {
            let decoded = v2::decode_within(body, Some(0), signature, limits)?;
            Ok((decoded.request, Form::V2(v2::Reply { binary: false, ..decoded.reply })))
        }
        "text/csv" => Ok((csv::decode(body, csv::Header::Auto, signature)?, Form::Rows)),
        "application/x-npy" => Ok((npy::decode(body, signature)?, Form::Rows)),
        media if media.starts_with("image/") => an_image(body, signature, plan),
        other => Err(ScoreError::ContentType(other.into())),
    }
}

fn an_image<'m>(body: &[u8], signature: &Signature, plan: Option<&'m Plan>) -> Result<(Request, Form<'m>), ScoreError> {
    let plan = plan.ok_or(ScoreError::NoImages)?;
    let taken = Cell::new(0_usize);
    let room = |bytes: usize| {
        taken.set(taken.get().saturating_add(bytes));
        taken.get() <= MOST_IMAGE_BYTES
    };
    let limits = DecodeLimits { room: &room, ..DecodeLimits::NONE };
    // A few bytes may be many pixels: whatever else this thread does goes on meanwhile.
    let decoded = work(usize::MAX, || image::decode_within(body, plan, signature, limits));
    let (request, frame) = decoded.map_err(|error| match error {
        hedef_protocols::Error::NoRoom => ScoreError::LargeImage,
        error => error.into(),
    })?;
    Ok((request, Form::Inferences(plan, frame)))
}

/// A document of v2 is answered with one; every other form that `/score` takes is answered as it does.
fn json<'m>(body: &[u8], signature: &Signature, limits: DecodeLimits<'_>) -> Result<(Request, Form<'m>), ScoreError> {
    if let Ok(decoded) = v2::decode_within(body, None, signature, limits) {
        let outputs = decoded.reply.outputs.into_iter().map(|wish| v2::Wish { binary: None, ..wish }).collect();
        // Nothing but text can follow the JSON in a message.
        return Ok((decoded.request, Form::V2(v2::Reply { binary: false, outputs, ..decoded.reply })));
    }
    Ok((azure::decode_within(body, signature, limits)?, Form::Rows))
}

fn looks_like_json(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| matches!(byte, b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use hedef_core::model::Parts;
    use hedef_core::repository::{Load, Version};
    use hedef_core::{DataType, Dim, TensorSpec};

    use super::*;

    fn signature() -> Signature {
        let spec = TensorSpec::new("x", DataType::Fp32, Some(vec![Dim::Free, Dim::Fixed(2)]));
        Signature { inputs: vec![spec.clone()], outputs: vec![spec], batch_axis: true }
    }

    fn form(content_type: Option<&str>, body: &[u8]) -> Result<&'static str, String> {
        let decoded = decode(content_type, body, &signature(), None).map_err(|error| error.to_string())?;
        assert_eq!(decoded.0.rows(), 1);
        Ok(match decoded.1 {
            Form::Inferences(..) => "inferences",
            Form::Rows => "rows",
            Form::V2(_) => "v2",
        })
    }

    #[test]
    fn the_content_type_says_what_a_body_is_and_without_one_its_look_does() {
        let v2 = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
        assert_eq!(form(None, v2).unwrap(), "v2");
        assert_eq!(form(Some("application/json; charset=utf-8"), br#" {"data":[[1,2]]}"#).unwrap(), "rows");
        assert_eq!(form(None, b"\n[[1,2]]").unwrap(), "rows");
        assert_eq!(form(None, &[0; 8]).unwrap(), "v2");
        assert_eq!(form(Some("Text/CSV"), b"1,2\n").unwrap(), "rows");
        assert!(form(Some("audio/wav"), b"RIFF").unwrap_err().contains("`audio/wav`"));
        assert!(form(Some("Image/JPEG"), b"\xFF\xD8\xFF").unwrap_err().contains("[image]"));
        assert!(form(None, b"\xFF\xD8\xFF\xE0\0\0\0\0").is_ok(), "bytes, of a model that takes no images");
        assert!(form(Some("application/octet-stream"), &[0; 7]).is_err());
    }

    #[test]
    fn a_message_s_answer_is_text_whatever_is_asked_for() {
        let body = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}],
            "outputs":[{"name":"x","parameters":{"binary_data":true}}],"parameters":{"binary_data_output":true}}"#;
        let (_, Form::V2(reply)) = decode(None, body, &signature(), None).unwrap() else { panic!() };
        assert!(!reply.binary && reply.outputs.iter().all(|wish| wish.binary.is_none()));
    }

    struct NothingLoads;

    impl Load for NothingLoads {
        fn load(&self, _: &Version<'_>) -> Result<Parts, String> {
            Err("it is broken".into())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_whose_turn_has_not_come_is_waited_for_and_one_that_failed_is_not() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("m/1")).unwrap();
        std::fs::write(folder.path().join("m/1/model.onnx"), "no model").unwrap();
        let metrics = hedef_core::metrics::Metrics::new(&prometheus::Registry::new()).unwrap();
        let roots = vec![folder.path().into()];
        let repository = Arc::new(Repository::new(roots, Box::new(NothingLoads), metrics));
        repository.refresh();
        let question = Question { model: None, content_type: None, body: b"{}", filter: None, due: None };
        let stop = CancellationToken::new();
        let beat = Beat::unwatched();
        let began = tokio::time::Instant::now();
        let hour = Duration::from_secs(3600);
        let waiting = tokio::time::timeout(hour, score(&repository, question, &stop, &beat)).await;
        assert!(waiting.is_err() && began.elapsed() == hour);
        let due = Some(Instant::now());
        let late = score(&repository, Question { due, ..question }, &stop, &beat).await;
        assert!(matches!(late, Err(ScoreError::Late)));
        stop.cancel();
        assert!(matches!(score(&repository, question, &stop, &beat).await, Err(ScoreError::Stopping)));
        repository.load_all();
        let failed = score(&repository, question, &CancellationToken::new(), &beat).await.unwrap_err();
        assert!(failed.to_string().contains("it is broken") && began.elapsed() == hour, "{failed}");
    }
}
