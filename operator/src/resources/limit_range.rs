//! LimitRange of a namespace with a quota.

use k8s_openapi::{
    api::core::v1::{LimitRange, LimitRangeItem, LimitRangeSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::crd::Resources;

/// Default requests and limits of containers. Without them, a quota rejects pods that set none.
pub fn limit_range(metadata: ObjectMeta, of_a_container: &Resources) -> LimitRange {
    LimitRange {
        metadata,
        spec: Some(LimitRangeSpec {
            limits: vec![LimitRangeItem {
                type_: "Container".into(),
                default: of_a_container.limits.clone(),
                default_request: of_a_container.requests.clone(),
                ..LimitRangeItem::default()
            }],
        }),
    }
}
