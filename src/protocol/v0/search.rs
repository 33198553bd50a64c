//! Searching offers: what may be asked, how well an offer answers, and in which order they stand.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::limits::{QUERY_BYTES_MAX, QUERY_TAGS_MAX};
use super::lists::{Params, bad_cursor, from_cursor, to_cursor};
use super::{BotId, Moment, Offer, OfferId, OfferStatus, Refusal};

/// What a word found in the title is worth; the weights are those of the deployed relays' index.
const TITLE_WEIGHT: u64 = 10;
/// What a word found in the tags is worth.
const TAG_WEIGHT: u64 = 5;
/// What a word found in the description is worth.
const DESCRIPTION_WEIGHT: u64 = 2;

/// In which order offers stand. What is equal stands newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// The best answers first.
    Relevance,
    /// The newest first.
    Newest,
    /// The most often paid first.
    MostPurchased,
    /// The cheapest first.
    PriceAsc,
    /// The dearest first.
    PriceDesc,
    /// The fastest first.
    TurnaroundAsc,
    /// The soonest to end first.
    ExpiresAsc,
}

impl Sort {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "relevance" => Self::Relevance,
            "newest" => Self::Newest,
            "most_purchased" => Self::MostPurchased,
            "price_asc" => Self::PriceAsc,
            "price_desc" => Self::PriceDesc,
            "turnaround_asc" => Self::TurnaroundAsc,
            "expires_asc" => Self::ExpiresAsc,
            _ => return None,
        })
    }
}

/// Which offers are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferQuery {
    /// All of these words occur, in lower case.
    words: Vec<String>,
    /// All of these tags, in lower case.
    tags: Vec<String>,
    /// Whose.
    pub seller: Option<BotId>,
    /// Those that take no jobs now as well.
    pub include_paused: bool,
    /// In which order.
    pub sort: Sort,
    /// How many at most.
    pub limit: usize,
    after: Option<Place>,
    /// What the query looks for, as it was sent: cursors are bound to it.
    q: String,
}

/// Where an offer stands in the order of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// What it is sorted by, so that larger stands first.
    rank: i128,
    at: Moment,
    id: OfferId,
}

#[derive(Serialize, Deserialize)]
struct Cursor {
    sort: Sort,
    q: String,
    rank: String,
    at: Moment,
    id: OfferId,
}

/// One offer that answers a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// Whatever it was found with.
    pub item: T,
    place: Place,
}

impl OfferQuery {
    /// Reads the parameters of a search. `caller` is who asks, if that is known; only then may it
    /// look for its own offers, and for paused ones.
    ///
    /// # Errors
    /// The 400 that the caller is to see.
    pub fn parse(params: Params<'_>, caller: Option<BotId>) -> Result<Self, Refusal> {
        let q = params.get("q").unwrap_or_default().trim();
        let words: Vec<String> = q.split_whitespace().map(str::to_lowercase).collect();
        if q.len() > QUERY_BYTES_MAX {
            return Err(Refusal::invalid("invalid q"));
        }
        let tags = params.get("tags").unwrap_or_default().split(',');
        let tags: Vec<String> =
            tags.map(|tag| tag.trim().to_lowercase()).filter(|tag| !tag.is_empty()).collect();
        if tags.len() > QUERY_TAGS_MAX {
            return Err(Refusal::invalid("invalid tags"));
        }
        let seller = match caller {
            Some(caller) if params.flag("mine")? => Some(caller),
            _ => params
                .get("seller_bot_id")
                .map(|id| id.parse().map_err(|_| Refusal::invalid("invalid seller_bot_id")))
                .transpose()?,
        };
        let sort = match params.get("sort") {
            Some(name) => Sort::parse(name).ok_or_else(|| Refusal::invalid("invalid sort"))?,
            None if words.is_empty() => Sort::Newest,
            None => Sort::Relevance,
        };
        let include_paused = caller.is_some() && params.flag("include_paused")?;
        let (limit, q) = (params.limit()?, q.to_owned());
        let mut query = Self { words, tags, seller, include_paused, sort, limit, after: None, q };
        if let Some(cursor) = params.get("cursor") {
            query.after = Some(query.place_behind(cursor).ok_or_else(bad_cursor)?);
        }
        Ok(query)
    }

    fn place_behind(&self, cursor: &str) -> Option<Place> {
        let cursor: Cursor = from_cursor(cursor)?;
        let same = cursor.sort == self.sort && cursor.q == self.q;
        let rank = cursor.rank.parse().ok()?;
        same.then_some(Place { rank, at: cursor.at, id: cursor.id })
    }

    fn cursor(&self, place: &Place) -> String {
        let Place { rank, at, id } = place.clone();
        to_cursor(&Cursor { sort: self.sort, q: self.q.clone(), rank: rank.to_string(), at, id })
    }

    /// Whether an offer, as time has left it, answers the query; `item` is what to find it with.
    pub fn find<T>(&self, offer: &Offer, purchases: u64, item: T) -> Option<Found<T>> {
        let shown = offer.status == OfferStatus::Active
            || (self.include_paused && offer.status == OfferStatus::Paused);
        if !shown || self.seller.is_some_and(|seller| seller != offer.seller_bot_id) {
            return None;
        }
        let has = |tag: &String| offer.tags.iter().any(|own| own.to_lowercase() == *tag);
        if !self.tags.iter().all(has) {
            return None;
        }
        let score = self.score(offer)?;
        let rank = match self.sort {
            Sort::Relevance => i128::from(score),
            Sort::Newest => 0,
            Sort::MostPurchased => i128::from(purchases),
            Sort::PriceAsc => -price(offer),
            Sort::PriceDesc => price(offer),
            Sort::TurnaroundAsc => -i128::from(offer.turnaround_seconds),
            Sort::ExpiresAsc => offer.expires_at.map_or(i128::MIN, |expiry| -expiry.nanos()),
        };
        let place = Place { rank, at: offer.created_at, id: offer.offer_id.clone() };
        let behind = self.after.as_ref().is_none_or(|after| order(&place, after) == Ordering::Greater);
        behind.then_some(Found { item, place })
    }

    /// Behind which offer to look on, if answers are wanted in the order in which offers were made.
    #[must_use]
    pub fn behind(&self) -> Option<(Moment, &OfferId)> {
        let place = self.after.as_ref().filter(|_| self.sort == Sort::Newest)?;
        Some((place.at, &place.id))
    }

    /// Whether offers that were looked at newest first have filled the page, so that no other counts.
    #[must_use]
    pub fn is_full<T>(&self, found: &[Found<T>]) -> bool {
        self.sort == Sort::Newest && found.len() > self.limit
    }

    /// Whether it matters how often offers were bought.
    #[must_use]
    pub fn counts_purchases(&self) -> bool {
        self.sort == Sort::MostPurchased
    }

    /// Drops what no page of this query can show any more, once there is much of it.
    pub fn prune<T>(&self, found: &mut Vec<Found<T>>) {
        if found.len() > 4 * self.limit {
            found.sort_unstable_by(|one, other| order(&one.place, &other.place));
            found.truncate(self.limit + 1);
        }
    }

    /// How well all words are found; nothing if one is not.
    fn score(&self, offer: &Offer) -> Option<u64> {
        if self.words.is_empty() {
            return Some(0);
        }
        let (title, description) = (offer.title.to_lowercase(), offer.description.to_lowercase());
        let tags: Vec<String> = offer.tags.iter().map(|tag| tag.to_lowercase()).collect();
        let mut total = 0;
        for word in &self.words {
            let score = TITLE_WEIGHT * u64::from(title.contains(word))
                + TAG_WEIGHT * u64::from(tags.iter().any(|tag| tag.contains(word)))
                + DESCRIPTION_WEIGHT * u64::from(description.contains(word));
            if score == 0 {
                return None;
            }
            total += score;
        }
        Some(total)
    }

    /// One page of what was found, in order, and the cursor behind it if there is more.
    #[must_use]
    pub fn page<T>(&self, mut found: Vec<Found<T>>) -> (Vec<T>, Option<String>) {
        found.sort_unstable_by(|one, other| order(&one.place, &other.place));
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let cursor = found.last().filter(|_| more).map(|last| self.cursor(&last.place));
        (found.into_iter().map(|found| found.item).collect(), cursor)
    }
}

fn order(one: &Place, other: &Place) -> Ordering {
    other.rank.cmp(&one.rank).then(other.at.cmp(&one.at)).then(other.id.cmp(&one.id))
}

/// The price, as far as numbers go: more is not money.
fn price(offer: &Offer) -> i128 {
    offer.price_raw.parse().unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SELLER: [u8; 32] = [1; 32];

    fn offer(number: u8, title: &str, price: &str, turnaround: u64) -> Offer {
        Offer {
            offer_id: OfferId::new(format!("offer_{number}")),
            seller_bot_id: BotId::from_bytes([number % 2; 32]),
            seller_bot_name: None,
            title: title.to_owned(),
            description: "does things for raw".to_owned(),
            tags: vec!["Nano".to_owned(), format!("t{number}")],
            price_raw: price.to_owned(),
            turnaround_seconds: turnaround,
            created_at: Moment::from_nanos(i128::from(number)),
            expires_at: Some(Moment::from_nanos(1_000 - i128::from(number))),
            status: OfferStatus::Active,
            cancelled_at: None,
            seller_last_seen_at: None,
        }
    }

    fn market() -> Vec<(Offer, u64)> {
        vec![
            (offer(1, "Nano summary", "50", 9), 3),
            (offer(2, "Translate raw text", "7", 60), 0),
            (offer(3, "Sketch a bird", "340282366920938463463374607431768211455", 1), 3),
            (Offer { status: OfferStatus::Paused, ..offer(4, "Paused nano", "1", 1) }, 0),
            (Offer { status: OfferStatus::Cancelled, ..offer(5, "Cancelled nano", "1", 1) }, 0),
        ]
    }

    fn params(query: &[(&str, &str)]) -> Vec<(String, String)> {
        query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn told(query: &[(&str, &str)]) -> Result<OfferQuery, Refusal> {
        OfferQuery::parse(Params(&params(query)), Some(BotId::from_bytes(SELLER)))
    }

    fn answers(query: &OfferQuery) -> (Vec<String>, Option<String>) {
        let market = market();
        let found =
            market.iter().filter_map(|(offer, purchases)| query.find(offer, *purchases, offer.title.clone()));
        query.page(found.collect())
    }

    fn check(query: &[(&str, &str)], expected: &[&str]) {
        assert_eq!(answers(&told(query).unwrap()).0, expected, "{query:?}");
    }

    #[test]
    fn every_order_and_every_filter() {
        let (summary, translate, sketch) = ("Nano summary", "Translate raw text", "Sketch a bird");
        check(&[], &[sketch, translate, summary]);
        check(&[("q", "RAW")], &[translate, sketch, summary]);
        check(&[("q", "nano raw")], &[translate, summary, sketch]);
        check(&[("q", "nano nothing")], &[]);
        check(&[("q", "raw"), ("sort", "newest")], &[sketch, translate, summary]);
        check(&[("sort", "most_purchased")], &[sketch, summary, translate]);
        check(&[("sort", "price_asc")], &[translate, summary, sketch]);
        check(&[("sort", "price_desc")], &[sketch, summary, translate]);
        check(&[("sort", "turnaround_asc")], &[sketch, summary, translate]);
        check(&[("sort", "expires_asc")], &[sketch, translate, summary]);
        check(&[("tags", "NANO, t2")], &[translate]);
        check(&[("tags", "t1,t2")], &[]);
        check(&[("include_paused", "true")], &["Paused nano", sketch, translate, summary]);
        check(&[("mine", "1")], &[sketch, summary]);
        let other = BotId::from_bytes([0; 32]).to_string();
        check(&[("seller_bot_id", &other)], &[translate]);
        check(&[("seller_bot_id", &other), ("mine", "true")], &[sketch, summary]);
    }

    #[test]
    fn pages_follow_each_other_and_cursors_are_bound() {
        for sort in ["relevance", "newest", "most_purchased", "price_asc", "price_desc", "expires_asc"] {
            let whole = answers(&told(&[("q", "raw"), ("sort", sort)]).unwrap()).0;
            let (mut walked, mut cursor) = (Vec::new(), String::new());
            for _ in 0..whole.len() {
                let query =
                    told(&[("q", "raw"), ("sort", sort), ("limit", "1"), ("cursor", &cursor)]).unwrap();
                let (page, next) = answers(&query);
                walked.extend(page);
                cursor = next.unwrap_or_default();
            }
            assert_eq!((walked, cursor.as_str()), (whole, ""), "{sort}");
        }
        let (_, cursor) = answers(&told(&[("limit", "1")]).unwrap());
        let cursor = cursor.unwrap();
        for query in [
            vec![("cursor", "garbage")],
            vec![("cursor", cursor.as_str()), ("sort", "price_asc")],
            vec![("cursor", cursor.as_str()), ("q", "raw"), ("sort", "newest")],
        ] {
            assert_eq!(told(&query).unwrap_err(), bad_cursor());
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        for (query, message) in [
            (("sort", "best"), "invalid sort"),
            (("mine", "yes"), "invalid mine"),
            (("include_paused", "2"), "invalid include_paused"),
            (("limit", "0"), "invalid limit"),
            (("seller_bot_id", "me"), "invalid seller_bot_id"),
        ] {
            assert_eq!(told(&[query]).unwrap_err(), Refusal::invalid(message));
        }
    }

    #[test]
    fn what_is_looked_for_is_bounded_at_the_byte() {
        let words = |bytes: usize| "x".repeat(bytes);
        assert!(told(&[("q", &words(512))]).is_ok());
        for bytes in [513, 600] {
            assert_eq!(told(&[("q", &words(bytes))]).unwrap_err(), Refusal::invalid("invalid q"));
        }
        let tags = |count: usize| vec!["nano"; count].join(", ,");
        assert!(told(&[("tags", &tags(16))]).is_ok());
        for count in [17, 20] {
            assert_eq!(told(&[("tags", &tags(count))]).unwrap_err(), Refusal::invalid("invalid tags"));
        }
    }

    #[test]
    fn a_word_is_worth_most_in_the_title_and_least_in_the_description() {
        let score = |q: &str, title: &str, tags: &[&str], description: &str| {
            let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            let offer = Offer { description: description.to_owned(), tags, ..offer(1, title, "1", 1) };
            told(&[("q", q)]).unwrap().score(&offer)
        };
        let none = ["other", "tags"];
        for (title, tags, description, expected) in [
            ("Ada", none, "other", Some(10)),
            ("other", ["other", "Adas"], "other", Some(5)),
            ("other", none, "by ADA", Some(2)),
            ("Ada", ["ada", "adas"], "other", Some(15)),
            ("Ada", none, "ada, ada", Some(12)),
            ("other", ["ada", "adas"], "ada", Some(7)),
            ("Ada", ["ada", "adas"], "ada", Some(17)),
            ("other", none, "other", None),
        ] {
            assert_eq!(score("ada", title, &tags, description), expected, "{title} {tags:?} {description}");
        }
        assert_eq!(score("ada bird", "Ada", &none, "a bird"), Some(12));
        assert_eq!(score("ada bird", "Ada", &none, "a fish"), None);
        assert_eq!(score("", "Ada", &none, "a fish"), Some(0));
    }

    #[test]
    fn who_is_not_known_has_no_offers_of_its_own_and_sees_none_that_are_paused() {
        let params = params(&[("mine", "true"), ("include_paused", "true"), ("q", "nano")]);
        let query = OfferQuery::parse(Params(&params), None).unwrap();
        assert_eq!((query.seller, query.include_paused, query.sort), (None, false, Sort::Relevance));
        let found = answers(&query).0;
        assert_eq!(found, ["Nano summary", "Sketch a bird", "Translate raw text"]);
    }

    /// Offers that are looked at newest first, one after the other, as a relay does it.
    #[test]
    fn a_page_in_the_order_of_making_is_known_to_be_full() {
        let found = |query: &OfferQuery, count: usize| -> Vec<Found<u8>> {
            let numbers = (1..=u8::try_from(count).unwrap()).rev();
            numbers.filter_map(|number| query.find(&offer(number, "t", "1", 1), 0, number)).collect()
        };
        let newest = told(&[("limit", "3")]).unwrap();
        for (count, full) in [(0, false), (2, false), (3, false), (4, true), (5, true)] {
            assert_eq!(newest.is_full(&found(&newest, count)), full, "{count} of 3");
        }
        // In any other order, what is looked at last may stand first.
        let cheapest = told(&[("limit", "3"), ("sort", "price_asc")]).unwrap();
        assert!(!cheapest.is_full(&found(&cheapest, 5)));
        let page = newest.page(found(&newest, 4));
        assert_eq!(page.0, [4, 3, 2]);
        let next = told(&[("limit", "3"), ("cursor", &page.1.unwrap())]).unwrap();
        assert_eq!(next.behind(), Some((Moment::from_nanos(2), &OfferId::new("offer_2"))));
        assert_eq!(next.page(found(&next, 4)), (vec![1], None));
        assert_eq!(newest.behind(), None);
        let page = cheapest.page(found(&cheapest, 4));
        let next = told(&[("limit", "3"), ("sort", "price_asc"), ("cursor", &page.1.unwrap())]).unwrap();
        assert_eq!(next.behind(), None);
    }

    #[test]
    fn purchases_are_counted_only_to_sort_by_them() {
        assert!(told(&[("sort", "most_purchased")]).unwrap().counts_purchases());
        for sort in ["relevance", "newest", "price_asc", "price_desc", "turnaround_asc", "expires_asc"] {
            assert!(!told(&[("sort", sort)]).unwrap().counts_purchases(), "{sort}");
        }
    }

    #[test]
    fn pruning_begins_beyond_four_pages_and_changes_no_page() {
        for (limit, count, left) in [(2_u8, 7, 7), (2, 8, 8), (2, 9, 3), (3, 12, 12), (3, 13, 4), (3, 20, 4)]
        {
            let query = told(&[("sort", "price_desc"), ("limit", &limit.to_string())]).unwrap();
            let offers = (1..=count).map(|number: u8| offer(number, "t", &(number % 5).to_string(), 1));
            let found: Vec<Found<OfferId>> =
                offers.filter_map(|offer| query.find(&offer, 0, offer.offer_id.clone())).collect();
            let mut pruned = found.clone();
            query.prune(&mut pruned);
            assert_eq!(pruned.len(), left, "{count} found for pages of {limit}");
            assert_eq!(query.page(pruned), query.page(found));
        }
    }

    #[test]
    fn the_longest_cursor_there_can_be_comes_back() {
        // Blank ends are cut off, so the words have one that is not.
        let q = format!("{}x", "\u{1}".repeat(QUERY_BYTES_MAX - 1));
        let query = OfferQuery::parse(Params(&[("q".to_owned(), q.clone())]), None).unwrap();
        let id = OfferId::new("\u{1}".repeat(crate::protocol::v0::limits::ID_BYTES_MAX));
        let place = Place { rank: i128::MIN, at: Moment::from_nanos(1), id };
        let next = [("q".to_owned(), q), ("cursor".to_owned(), query.cursor(&place))];
        assert_eq!(OfferQuery::parse(Params(&next), None).unwrap().after, Some(place));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(q: String, tags: String, cursor: String) {
            if let Ok(query) = told(&[("q", &q), ("tags", &tags)]) {
                let _ = answers(&query);
            }
            let _ = told(&[("cursor", &cursor)]);
        }
    }
}
