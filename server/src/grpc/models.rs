//! The calls about the server, its models and its repository: one small message each way.

use std::pin::pin;

use axum::response::Response;
use bytes::Bytes;
use hedef_core::Kind;
use hedef_protocols::v2::grpc::{self, Named};

use super::incoming::Incoming;
use super::outgoing;
use crate::app::App;
use crate::call::Call;
use crate::encoding::Coding;
use crate::error::ApiError;
use crate::log;
use crate::payload::{Limit, Source};
use crate::routes::{model_info, repository, v2};
use crate::target::Target;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    ServerLive,
    ServerReady,
    ModelReady,
    ServerMetadata,
    ModelMetadata,
    ModelConfig,
    ModelStatistics,
    RepositoryIndex,
    RepositoryModelLoad,
    RepositoryModelUnload,
    LogSettings,
}

/// The most bytes of a question about the server or its models, which names a few things; what is told of one quotes it.
const QUESTION: usize = 16 << 10;

/// How large a question may be.
pub(super) fn small(app: &App) -> Limit<'static> {
    Limit { bytes: app.config.body_limits.usual.min(QUESTION), model: None }
}

/// Answers a call of one message.
pub(super) async fn answer<B: Source>(
    (app, call): (&App, &Call),
    ask: Ask,
    incoming: Incoming<B>,
    coding: Option<Coding>,
) -> Result<Response, ApiError> {
    let limit = match ask {
        // It may bring files.
        Ask::RepositoryModelLoad => Limit { bytes: app.config.body_limits.usual, model: None },
        _ => small(app),
    };
    let message = only(call, incoming, limit).await?;
    let target = || target(call, grpc::decode_named(&message)?);
    let answer = match ask {
        Ask::ServerLive => grpc::verdict(true),
        Ask::ServerReady => grpc::verdict(app.is_ready()),
        Ask::ModelReady => grpc::verdict(can_score(app, &target()?)?),
        Ask::ServerMetadata => grpc::server_metadata(env!("CARGO_PKG_VERSION"), &v2::EXTENSIONS),
        Ask::ModelMetadata => metadata(app, call, &target()?).await?,
        Ask::ModelConfig => model_info::configuration(app, call, &target()?, grpc::config).await?,
        Ask::ModelStatistics => match target()? {
            Target { model, version: None } if model.is_empty() => grpc::statistics(&model_info::snapshots(app, call)),
            target => grpc::statistics(&[model_info::snapshot(app, &target)?]),
        },
        Ask::RepositoryIndex => repository::list(app, call, grpc::decode_index(&message)?, grpc::index),
        Ask::RepositoryModelLoad => {
            let (model, request) = grpc::decode_load(message)?;
            call.check_model(&model)?;
            repository::load_model(app.clone(), model, request).await?;
            grpc::done()
        }
        Ask::RepositoryModelUnload => {
            let (model, _) = grpc::decode_unload(&message)?;
            call.check_model(&model)?;
            repository::unload_model(app.clone(), model).await?;
            grpc::done()
        }
        Ask::LogSettings => {
            let log = app.config.log.as_deref().ok_or_else(|| ApiError::NoCall("LogSettings".into()))?;
            log::change(log, grpc::decode_logging(&message)?)?;
            grpc::logging(&log::settings(log))
        }
    };
    outgoing::one(answer, coding)
}

/// The only message of a call.
pub(super) async fn only<B: Source>(
    call: &Call,
    mut incoming: Incoming<B>,
    limit: Limit<'_>,
) -> Result<Bytes, ApiError> {
    let reading = async {
        let begun = incoming.only().await?;
        let message = incoming.finish(begun, limit).await?;
        incoming.end().await?;
        message.unpack().await
    };
    call.in_time(pin!(reading)).await.ok_or(ApiError::BodyTimeout)?
}

/// What a message names, which is no model where it asks for all.
fn target(call: &Call, named: Named) -> Result<Target<'static>, ApiError> {
    if !named.name.is_empty() {
        call.check_model(&named.name)?;
    }
    let version = Some(named.version).filter(|version| !version.is_empty());
    Ok(Target { model: named.name.into(), version: version.map(Into::into) })
}

/// Whether a model can score. One that is not there cannot: clients ask until it can.
fn can_score(app: &App, target: &Target<'_>) -> Result<bool, ApiError> {
    match app.can_score(target) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Unavailable) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn metadata(app: &App, call: &Call, target: &Target<'_>) -> Result<Bytes, ApiError> {
    let model = app.loaded(call, target).await?;
    let versions = app.repository.versions(&target.model)?;
    Ok(grpc::metadata(model.id().name.as_str(), &versions, model.signature()))
}
