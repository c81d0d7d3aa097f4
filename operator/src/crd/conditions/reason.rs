//! Reasons of conditions.

use std::fmt;

/// Declares the reasons. Each has a meaning and, unless none is due, a remedy.
macro_rules! reasons {
    ($($variant:ident: $meaning:literal, $remedy:literal;)+) => {
        /// The reason of a condition: stable, for programs.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)+
            /// The reason that the HorizontalPodAutoscaler or ScaledObject of a pool states, passed
            /// on unchanged.
            Autoscaler(String),
        }

        impl Reason {
            /// Every reason of the operator itself.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value of `reason` in a condition.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                    Self::Autoscaler(reason) => reason,
                }
            }

            /// What the reason says, unless the [catalogue](super::documents) says it for the type.
            pub const fn meaning(&self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)+
                    Self::Autoscaler(_) => AUTOSCALER,
                }
            }

            /// What to do; empty if nothing is to be done.
            pub const fn remedy(&self) -> &'static str {
                match self {
                    $(Self::$variant => $remedy,)+
                    Self::Autoscaler(_) => AUTOSCALER_REMEDY,
                }
            }
        }
    };
}

const AUTOSCALER: &str = "The autoscaler of the pool fails, and the message quotes it. The number of pods stays \
                          unchanged. The reason is the autoscaler's own, such as `FailedGetExternalMetric`.";
const AUTOSCALER_REMEDY: &str = "Check that the cluster serves the external-metrics API, or that KEDA reaches the \
                                 operator. `kubectl describe hpa` or `kubectl describe scaledobject` shows more.";

reasons! {
    // Progress and success.
    Serving: "It serves.", "";
    ScaledToZero: "The pool has no pods, because it has no work.", "";
    Starting: "It starts. The message names what it waits for, and why pods do not start.",
        "Wait, or fix the cause that the message names: an image, a quota or a node.";
    SettingUp: "The setup Job runs.", "Wait.";
    Progressing: "Fewer pods are ready than desired.", "Wait.";
    RollingOut: "Pods of an older template are replaced.", "Wait.";
    UpToDate: "Everything matches the spec.", "";
    Paused: "The platform is paused: the operator changes nothing.", "Set `spec.paused: false` on the platform.";
    SetupSucceeded: "The setup Job reached the service. A bundled one is ready.", "";
    Reached: "The setup Job reached this service before it failed at another one.", "";
    NotChecked: "The setup Job has not checked the service yet.", "See the condition `Ready`.";
    Configured: "The token of the profile source is configured.", "";
    Fits: "The demand fits.", "";
    Applied: "The Ingress or HTTPRoute is applied.", "";
    NotApplied: "The operator applies it after the setup.", "Wait.";
    Healthy: "The health score is 80 or more of 100. `status.health` has it in steps of ten.", "";
    Active: "The pool follows its load.", "";
    NotSeen: "The autoscaler has not reported on the pool yet.", "Wait.";
    OnGpu: "The models of all pods run on GPUs.", "";
    NotStalled: "Nothing blocks the reconciliation.", "";

    // Faults that a person corrects.
    SetupFailed: "The setup Job failed, and the message quotes its error. It runs again every 30 seconds.",
        "See the condition of the service that the message names.";
    SecretMissing: "A Secret that the spec names does not exist.",
        "Create the Secret with the keys that the message names. No restart is needed.";
    SecretKeyMissing: "A Secret that the spec names lacks a key.",
        "Add the key that the message names. No restart is needed.";
    SecretKeyEmpty: "A key of a Secret that the spec names has no value.",
        "Give the key a value. No restart is needed.";
    SecretInvalid: "A key of a Secret that the spec names holds no valid address.",
        "Write the address in the form that the message shows. No restart is needed.";
    NotConfigured: "The spec names no profile source. Every analysis fails, and its credits go back. The platform is \
        Ready nevertheless.", "Set `spec.profileSource`.";
    ConnectionBudgetExceeded: "The database connections that the spec asks for do not fit. Running pods keep running.",
        "See the condition `ConnectionBudget`.";
    Exceeded: "The sum of the allocations exceeds the budget. The message has the arithmetic.",
        "Raise `spec.database.maxConnections` of the platform, or lower replicas or `connections`.";
    PodTemplateInvalid: "The overrides of the pod template make no valid pod template.",
        "Correct `podTemplate`. The message names the fault.";
    Refused: "The API server rejected an object, and the message quotes it. Or another owner has an object of that \
        name, and the operator does not touch it.",
        "Correct the spec. Where an object has another owner, remove or rename one of the two.";
    Forbidden: "The API server does not allow the operator to make a change: a quota or missing rights. The message \
        quotes it.", "Correct the quota or the operator's rights.";
    GatewayApiMissing: "The cluster has no kind HTTPRoute. Everything else continues.",
        "Install the Gateway API, or use `spec.api.ingress`. The operator checks again within a minute.";
    Degraded: "The health score is below 80 of 100. The message names the parts that lower it.",
        "`GET /admin/v1/health` and the console show each part.";
    PlatformNotFound: "The namespace has no AnalyticsPlatform of that name.",
        "Create the platform, or recreate the pool with another `platformRef`.";
    WaitingForPlatform: "The platform's setup has not succeeded for its current spec and Secrets.",
        "See the conditions of the platform.";
    PodsNotStarting: "Fewer pods are ready than desired, and the message names the cause.", "Fix the cause.";
    LoadUnknown: "The API does not report its queues. The number of pods stays unchanged.",
        "See the conditions of the platform and the log of the API.";
    InsufficientGpus: "Nodes and quotas have GPUs for fewer pods than `scaling.max`. The message has the arithmetic. \
        The autoscaler requests no more pods than fit.", "Add nodes or quota, or lower `scaling.max`.";
    OnProcessor: "The models of some pods run on the processor, slower but with the same results. The message names \
        the cause.", "Check the node's driver and device plug-in, and that the operator has an image for GPUs.";
    Stalled: "The operator waits for a correction.", "See the condition `Ready`.";
}

impl Reason {
    /// Whether an earlier condition of the operator has this reason.
    pub fn is(&self, text: &str) -> bool {
        self.as_str() == text
    }

    /// Reasons that resolve without a person.
    pub const fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::Starting
                | Self::SettingUp
                | Self::NotApplied
                | Self::Progressing
                | Self::WaitingForPlatform
                | Self::NotConfigured
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
