// book/_ext/page_scripts.py has loaded the single-file build, which sets a global; pages import this.
export default globalThis.mermaid;
