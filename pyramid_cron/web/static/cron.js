"use strict";
// A run that goes on is asked how far it has come; once its state is another, the page is loaded anew.
const live = document.querySelector("[data-live]");
if (live) {
  const field = (name) => live.querySelector(`[data-field="${name}"]`);
  const ask = async () => {
    try {
      const answer = await fetch(live.dataset.live, { headers: { Accept: "application/json" } });
      if (answer.ok) {
        const run = await answer.json();
        if (run.state !== live.dataset.state) {
          location.reload();
          return;
        }
        show(run.progress);
      }
    } catch {
      // The server is away; ask again.
    }
    setTimeout(ask, 1000);
  };
  const show = (progress) => {
    if (!progress) return;
    if (progress.total) {
      field("progress").max = progress.total;
      field("progress").value = progress.done;
    }
    const of = progress.total ? ` of ${progress.total}` : "";
    field("message").textContent = `${progress.done}${of} ${progress.message ?? ""}`;
  };
  ask();
}
