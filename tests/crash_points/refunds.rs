//! What is sent back: whoever dies meanwhile, the payer has it once.

use mock_nano_rpc::ledger::dev_genesis_key;
use nano_worker::nano::Amount;
use nano_worker::protocol::JobId;

use crate::seller::{PRICE, offer};
use crate::stories::{ECHO, End, Story, Told, invoice};

/// Too little came, and then the buyer gave the job up.
const PART: Amount = Amount::from_raw(PRICE.raw() / 2);

impl Story<'_> {
    /// A person asks for the refund, and that program dies.
    pub(crate) async fn refunding(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        self.seller.live();
        let told = self.owed().await;
        self.seller.kill();
        self.seller.arm_verb(&["refund", &told.job.to_string()]);
        vec![told]
    }

    /// The worker sends back by itself, as soon as it runs.
    pub(crate) async fn returning(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        self.seller.live();
        let told = self.owed().await;
        self.seller.kill();
        self.seller.configure(&[offer("Echo", false) + "[payment]\nauto_refund = true\n"]);
        self.seller.arm();
        vec![told]
    }

    /// The worker dies while it finds out what it owes.
    pub(crate) async fn owing(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        self.seller.arm();
        vec![self.underpaid().await]
    }

    /// A debt that the worker knows of.
    async fn owed(&self) -> Told {
        let told = self.underpaid().await;
        self.eventually("debt", async || {
            let status = self.seller.ask(&["status", "--json"])?;
            status.contains("\"why\":\"underpaid\"").then_some(())
        })
        .await;
        told
    }

    async fn underpaid(&self) -> Told {
        let job = self.accepted("Echo").await;
        self.lane.node.fund(&invoice(&job), PART).unwrap();
        self.eventually("notice of the part", async || {
            let job = self.seller.ask(&["jobs", "show", &job.job_id.to_string(), "--json"])?;
            job.contains(&format!("\"amount_raw\":\"{PART}\"")).then_some(())
        })
        .await;
        self.cancel(job.job_id).await;
        self.ended(&job, End::Canceled, PART, 0).await
    }

    /// Asked again, the daemon finishes what died, and does nothing twice.
    pub(crate) async fn refunded(&self, job: JobId) {
        let refund = ["refund", "--json", &job.to_string()];
        let payer = dev_genesis_key().account();
        let arrived = || -> Vec<Amount> {
            self.lane.node.with(|node, _| {
                let list = node.ledger.receivables(&payer);
                list.filter(|(_, send)| self.seller.owns(&send.source)).map(|(_, send)| send.amount).collect()
            })
        };
        self.eventually("end of the refund", async || {
            drop(self.seller.ask(&refund));
            (!arrived().is_empty()).then_some(())
        })
        .await;
        self.eventually("end of the debt", async || {
            drop(self.seller.ask(&refund));
            let status = self.seller.ask(&["status", "--json"])?;
            status.contains("\"owed_back\":{\"count\":0").then_some(())
        })
        .await;
        assert_eq!(arrived(), [PART], "what was paid goes back once");
    }
}
