// The names of tenants by id, because lists of jobs have only ids.

import { Problem, get } from './api.js';
import { h } from './dom.js';
import { session } from './session.js';
import { shortId } from './words.js';

const names = new Map();
session.changes.addEventListener('change', () => names.clear());

export const remember = (tenant) => names.set(tenant.id, tenant.name);

/** A link to a tenant, with its name if it is known. */
export const tenantLink = (id) => h('a', { href: `#/tenants/${id}`, title: id }, names.get(id) ?? shortId(id));

/** Loads the names that are not known yet; returns whether there were any. */
export async function learn(ids, signal) {
  const unknown = [...new Set(ids)].filter((id) => !names.has(id));
  for (const id of unknown) {
    try {
      const { tenants } = await get(`/admin/v1/tenants?search=${id}&limit=1`, { signal });
      names.set(id, tenants[0]?.name ?? shortId(id));
    } catch (problem) {
      if (signal.aborted || problem instanceof Problem) return false;
      throw problem;
    }
  }
  return unknown.length > 0;
}
