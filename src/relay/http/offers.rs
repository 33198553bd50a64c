//! `/v1/offers`

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use serde_json::json;

use super::super::model::{OfferQuery, ReplyBody};
use super::super::server::App;
use super::body::{Fields, Params, error};
use super::once::once;
use super::reply::{Handled, Named, ok};
use super::request::{Signed, check_stranger, parse_id};
use crate::protocol::Refusal;
use crate::protocol::limits::{OFFERS_PER_PAGE, OFFERS_PER_PAGE_MAX};
use crate::protocol::offer::{OfferTerms, PricingMode};

/// Tags in one search: an offer cannot have more.
const TAGS_MAX: usize = crate::protocol::limits::TAGS_MAX;

pub(super) async fn create(State(app): State<App>, signed: Signed) -> Handled {
    once(&app, &signed, 201, async |receipt| {
        let terms = new_terms(&mut Fields::parse(&signed.body)?)?;
        let offer = app.service.create_offer(signed.party, terms, receipt.as_ref()).await?;
        Ok(ReplyBody::Offer(Box::new(offer)))
    })
    .await
}

pub(super) async fn change(State(app): State<App>, signed: Signed) -> Handled {
    once(&app, &signed, 200, async |receipt| {
        let mut fields = Fields::parse(&signed.body)?;
        let changes = Changes::parse(&mut fields)?;
        let id = signed.offer_id()?;
        let offer = app
            .service
            .change_offer(
                signed.party,
                id,
                |terms| {
                    changes.make(terms);
                    Ok(())
                },
                receipt.as_ref(),
            )
            .await?;
        Ok(ReplyBody::Offer(Box::new(offer)))
    })
    .await
}

pub(super) async fn show(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Handled {
    let (parts, _) = request.into_parts();
    check_stranger(&app, &parts)?;
    let offer = app.service.offer(parse_id(path.ok().as_deref().map(String::as_str), "offer_id")?).await?;
    Ok(ok(&Named { offer: Some(&offer), ..Named::default() }))
}

pub(super) async fn list(State(app): State<App>, request: Request) -> Handled {
    let (parts, _) = request.into_parts();
    check_stranger(&app, &parts)?;
    let params = Params::parse(parts.uri.query())?;
    let query = query(&app, &params).await?;
    let page = app.service.offers(&query).await?;
    let (limit, offset) = (query.limit, query.offset);
    Ok(ok(&json!({"offers": page.offers, "limit": limit, "offset": offset, "total": page.total})))
}

async fn query(app: &App, params: &Params) -> Result<OfferQuery, Refusal> {
    let tags: Vec<String> = params.list("tags").into_iter().map(str::to_owned).collect();
    if tags.len() > TAGS_MAX {
        return Err(Refusal::field("tags", format!("at most {TAGS_MAX} tags")));
    }
    let pricing_mode = params.text("pricing_mode").map(pricing).transpose()?;
    let among = match params.switch("online_only")? {
        Some(true) => Some(app.presence.online().await),
        _ => None,
    };
    Ok(OfferQuery {
        text: params.text("q").map(str::to_lowercase),
        tags,
        seller: params.parsed("seller_pubkey")?,
        among,
        pricing_mode,
        active: Some(params.switch("active")?.unwrap_or(true)),
        offset: params.offset()?,
        limit: params.limit(OFFERS_PER_PAGE, OFFERS_PER_PAGE_MAX)?,
    })
}

fn pricing(mode: &str) -> Result<PricingMode, Refusal> {
    match mode {
        "fixed" => Ok(PricingMode::Fixed),
        "quote" => Ok(PricingMode::Quote),
        _ => Err(Refusal::field("pricing_mode", "fixed or quote")),
    }
}

pub(super) fn new_terms(fields: &mut Fields) -> Result<OfferTerms, Refusal> {
    let (title, description) = (fields.needed_text("title"), fields.needed_text("description"));
    let mode = fields.needed_text("pricing_mode").and_then(|mode| pricing(&mode));
    let (tags, price, active) =
        (fields.texts("tags"), fields.text("fixed_price_raw"), fields.switch("active"));
    let wrong =
        [error(&title), error(&description), error(&mode), error(&tags), error(&price), error(&active)];
    Refusal::all_of(wrong.into_iter().flatten())?;
    Ok(OfferTerms {
        title: title?,
        description: description?,
        tags: tags?.unwrap_or_default(),
        pricing_mode: mode?,
        fixed_price_raw: price?,
        active: active?.unwrap_or(true),
    })
}

/// What a seller changes; absent fields stay.
pub(super) struct Changes {
    title: Option<String>,
    description: Option<String>,
    tags: Option<Vec<String>>,
    pricing_mode: Option<PricingMode>,
    /// The inner `None` takes the price away.
    fixed_price_raw: Option<Option<String>>,
    active: Option<bool>,
}

impl Changes {
    pub(super) fn parse(fields: &mut Fields) -> Result<Self, Refusal> {
        let names_price = fields.has("fixed_price_raw");
        let price = fields.text("fixed_price_raw")?;
        Ok(Self {
            title: fields.text("title")?,
            description: fields.text("description")?,
            tags: fields.texts("tags")?,
            pricing_mode: fields.text("pricing_mode")?.map(|mode| pricing(&mode)).transpose()?,
            fixed_price_raw: names_price.then_some(price),
            active: fields.switch("active")?,
        })
    }

    pub(super) fn make(&self, terms: &mut OfferTerms) {
        if let Some(title) = &self.title {
            terms.title.clone_from(title);
        }
        if let Some(description) = &self.description {
            terms.description.clone_from(description);
        }
        if let Some(tags) = &self.tags {
            terms.tags.clone_from(tags);
        }
        if let Some(mode) = self.pricing_mode {
            terms.pricing_mode = mode;
        }
        if let Some(price) = &self.fixed_price_raw {
            terms.fixed_price_raw.clone_from(price);
        }
        if let Some(active) = self.active {
            terms.active = active;
        }
    }
}
