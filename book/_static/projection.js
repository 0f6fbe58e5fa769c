// The calculator of the projection: the arithmetic of churnlab/cloud/projection.py, in the page.
"use strict";
(() => {
    const form = document.querySelector("#projection");
    const facts = JSON.parse(document.querySelector("#projection-facts").textContent);
    const value = name => Number(form.elements[name].value);
    const words = (number, digits) => number.toLocaleString("en-US", {
        minimumFractionDigits: digits, maximumFractionDigits: digits,
    });

    function unitsOfMachine(cores, memory) {
        const base = Math.min(memory, facts.gb_per_vcpu * cores);
        return facts.per_vcpu * cores + facts.per_gb * base + facts.per_gb_above * (memory - base);
    }

    function bill(dcuHours, gbHours) {
        return dcuHours * facts.usd_per_dcu_hour + gbHours * facts.usd_per_gb_hour;
    }

    function project() {
        const work = value("core_seconds") * value("customers") / 1e6 / value("speed");
        const cores = value("executors") * value("cores") * value("efficiency");
        const seconds = Math.max(facts.least_seconds, value("start_seconds") + work / cores);
        const machines = value("executors") + 1;
        const dcuHours = machines * unitsOfMachine(value("cores"), value("memory_gb")) * seconds / 3600;
        const gbHours = machines * value("disk_gb") * seconds / 3600;
        return {minutes: seconds / 60, dcuHours, usd: bill(dcuHours, gbHours)};
    }

    function reconcile(usd) {
        const dcuHours = value("milli_dcu_seconds") / 1000 / 3600;
        if (!(dcuHours > 0)) return "";
        const real = bill(dcuHours, value("shuffle_gb_seconds") / 3600);
        return ` The real batch cost ${words(real, 2)} USD, ${words(real / usd, 2)} times as much.`;
    }

    function show() {
        const output = form.querySelector("output");
        if (!form.checkValidity()) {
            const wrong = form.querySelector("input:invalid");
            output.textContent = `${wrong.labels[0].textContent.trim()}: ${wrong.validationMessage}`;
            return;
        }
        const found = project();
        output.textContent = `${words(found.minutes, 1)} minutes, ${words(found.dcuHours, 1)} `
            + `DCU-hours, ${words(found.usd, 2)} USD.${reconcile(found.usd)}`;
    }

    form.addEventListener("input", show);
    form.addEventListener("submit", event => event.preventDefault());
    show();
})();
