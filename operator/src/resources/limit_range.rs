use k8s_openapi::{
    api::core::v1::{LimitRange, LimitRangeItem, LimitRangeSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::crd::Resources;

/// What a container of a namespace gets that says nothing: without it a quota would keep its pod out.
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
