//! The document behind `/swagger.json`: what `/score` takes and gives, made from a model's signature.
//!
//! Source: the templates of the `azureml-inference-server-http` package, Swagger 2.0 and OpenAPI 3.0.3.

mod images;
mod schema;
#[cfg(test)]
mod tests;

use hedef_core::Signature;
use serde_json::{Value, json};

/// Which specification the document follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Swagger 2.0.
    Two,
    /// OpenAPI 3.0.3.
    Three,
}

impl Version {
    /// The version that the query parameter `version` asks for: `2` and `2.0` and nothing mean Swagger 2.0; `3`,
    /// `3.0` and `3.1` mean OpenAPI 3. `None` for another.
    #[must_use]
    pub fn from_query(version: Option<&str>) -> Option<Self> {
        match version {
            None | Some("2" | "2.0") => Some(Self::Two),
            Some("3" | "3.0" | "3.1") => Some(Self::Three),
            Some(_) => None,
        }
    }

    /// Where the schemas stand in the document.
    const fn schemas(self) -> &'static str {
        match self {
            Self::Two => "#/definitions/",
            Self::Three => "#/components/schemas/",
        }
    }

    fn reference(self, schema: &str) -> Value {
        json!({ "$ref": format!("{}{schema}", self.schemas()) })
    }
}

/// What the document says of the service itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service<'a> {
    /// Its name, the title of the document.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// What stands before every path, such as `/api`; empty for nothing.
    pub path_prefix: &'a str,
    /// The model that `/score` means.
    pub model: &'a str,
    /// Whether that takes images.
    pub images: bool,
}

/// Makes the document. It holds an example that the model takes, unless that would be very long.
#[must_use]
pub fn document(version: Version, service: Service<'_>, signature: &Signature) -> Value {
    let info = json!({
        "title": service.name,
        "description": format!("Scores the model `{}`.", service.model),
        "version": service.version,
    });
    let mut schemas = json!({
        "ServiceInput": schema::input(signature),
        "ServiceOutput": schema::output(signature),
        "ErrorResponse": {
            "type": "object",
            "required": ["message"],
            "properties": { "message": { "type": "string", "description": "What was wrong." } },
        },
    });
    let prefix = service.path_prefix;
    let mut paths = json!({
        (format!("{prefix}/")): { "get": health(version) },
        (format!("{prefix}/score")): { "post": score(version) },
        (format!("{prefix}/swagger.json")): { "get": swagger(version) },
    });
    if service.images {
        merge(&mut schemas, images::schemas().into());
        images::add(&mut paths, version, prefix);
    }
    match version {
        Version::Two => json!({
            "swagger": "2.0",
            "info": info,
            "schemes": ["https", "http"],
            "consumes": ["application/json"],
            "produces": ["application/json"],
            "securityDefinitions": {
                "Bearer": {
                    "type": "apiKey",
                    "name": "Authorization",
                    "in": "header",
                    "description": "For example: Bearer abc123",
                },
            },
            "paths": paths,
            "definitions": schemas,
        }),
        Version::Three => json!({
            "openapi": "3.0.3",
            "info": info,
            "paths": paths,
            "components": {
                "securitySchemes": { "Bearer": { "type": "http", "scheme": "bearer" } },
                "schemas": schemas,
            },
        }),
    }
}

fn health(version: Version) -> Value {
    let mut operation = operation("ServiceHealthCheck", "Says that the service is up.");
    let healthy =
        response(version, "The service is up.", &json!({ "type": "string", "example": "Healthy" }), "text/plain");
    set(&mut operation, "responses", answers(version, healthy));
    if version == Version::Two {
        set(&mut operation, "produces", json!(["text/plain"]));
    }
    operation
}

fn swagger(version: Version) -> Value {
    let mut operation = operation("ServiceDescription", "Gives this document.");
    let document = response(version, "The document.", &json!({ "type": "object" }), JSON);
    set(&mut operation, "responses", answers(version, document));
    let schema = json!({ "type": "string", "default": "2", "enum": ["2", "2.0", "3", "3.0", "3.1"] });
    let mut parameter = json!({ "name": "version", "in": "query", "description": "2 or 3." });
    match version {
        Version::Two => merge(&mut parameter, schema),
        Version::Three => set(&mut parameter, "schema", schema),
    }
    set(&mut operation, "parameters", json!([parameter]));
    operation
}

fn score(version: Version) -> Value {
    let mut operation = operation("RunMLService", "Runs the model and answers with its outputs.");
    set(&mut operation, "security", json!([{ "Bearer": [] }]));
    let output = response(version, "The outputs.", &version.reference("ServiceOutput"), JSON);
    set(&mut operation, "responses", answers(version, output));
    let description = "The inputs of the model, one list element for each row.";
    let schema = version.reference("ServiceInput");
    match version {
        Version::Two => {
            let parameter = json!({
                "name": "serviceInputPayload",
                "in": "body",
                "required": true,
                "description": description,
                "schema": schema,
            });
            set(&mut operation, "parameters", json!([parameter]));
        }
        Version::Three => {
            let body =
                json!({ "description": description, "required": true, "content": { JSON: { "schema": schema } } });
            set(&mut operation, "requestBody", body);
        }
    }
    operation
}

const JSON: &str = "application/json";

fn operation(id: &str, description: &str) -> Value {
    json!({ "operationId": id, "description": description })
}

fn response(version: Version, description: &str, schema: &Value, media_type: &str) -> Value {
    match version {
        Version::Two => json!({ "description": description, "schema": schema }),
        Version::Three => json!({ "description": description, "content": { (media_type): { "schema": schema } } }),
    }
}

fn answers(version: Version, success: Value) -> Value {
    let error = response(version, "Something was wrong.", &version.reference("ErrorResponse"), JSON);
    json!({ "200": success, "default": error })
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_string(), value);
    }
}

fn merge(object: &mut Value, other: Value) {
    if let (Some(object), Value::Object(other)) = (object.as_object_mut(), other) {
        object.extend(other);
    }
}
