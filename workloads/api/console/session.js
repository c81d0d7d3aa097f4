// The session: the key and its role. It ends with the browser's tab.

const KEY = 'switchyard.key';
const ROLE = 'switchyard.role';

export const session = {
  /** Dispatches `change`, whose detail is the reason of the end of a session. */
  changes: new EventTarget(),

  get key() {
    return sessionStorage.getItem(KEY);
  },

  /** `admin` or `tenant`; null without a session. */
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
