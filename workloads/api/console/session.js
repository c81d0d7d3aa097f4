// The key that was given, and whose it is. Nothing outlives the browser's tab.

const KEY = 'switchyard.key';
const ROLE = 'switchyard.role';

export const session = {
  /** Dispatches `change`; its detail says why a session ended. */
  changes: new EventTarget(),

  get key() {
    return sessionStorage.getItem(KEY);
  },

  /** `admin` or `tenant`; null when nobody is signed in. */
  get role() {
    return sessionStorage.getItem(ROLE);
  },

  get admin() {
    return this.role === 'admin';
  },

  begin(key, role) {
    sessionStorage.setItem(KEY, key);
    sessionStorage.setItem(ROLE, role);
    this.changes.dispatchEvent(new CustomEvent('change'));
  },

  end(why = '') {
    sessionStorage.removeItem(KEY);
    sessionStorage.removeItem(ROLE);
    this.changes.dispatchEvent(new CustomEvent('change', { detail: why }));
  },
};
