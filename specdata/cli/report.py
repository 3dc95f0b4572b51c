"""What the commands print of their results."""


def print_build(manifest, output):
    """Print what a build made of its source, from the manifest."""
    counts = manifest["counts"]
    rejected = ", ".join(f"{cut} {n}" for cut, n in counts["rejected"].items() if n) or "none"
    if selection := manifest.get("selection"):
        listed = f"{manifest['recipe']['source']['catalogue']}.failed.csv, which the next run tries again"
        lost = len(selection["missing"])
        said = f"{lost}, replaced from their redshift bins as far as these go; listed in {listed}" if lost else "none"
        print(f"missing    {said}")
    print(f"read       {counts['read']} spectra; rejected: {rejected}")
    short = [row for row in manifest["redshift_bins"] if row["taken"] < row["asked"]]
    if short:
        print(
            f"sampled    {counts['sampled']} of the {counts['asked']['size']} asked for: "
            f"{len(short)} of {len(manifest['redshift_bins'])} redshift bins ran short (the card has the table)"
        )
    else:
        print(f"sampled    {counts['sampled']}, the same number from each redshift bin")
    asked = counts["asked"]
    short_of = {k: f" of {asked[k]} asked" for k, n in counts["splits"].items() if asked.get(k, n) != n}
    sizes = (f"{name} {n}{short_of.get(name, '')}" for name, n in counts["splits"].items())
    print("splits     " + ", ".join(sizes))
    print(f"revision   {manifest['revision'][:12]}")
    for name, config in manifest["configs"].items():
        fit = config.get("fit")
        fitted = f", the most within {fit['tokens']} tokens of {fit['tokenizer']} ({fit['longest']})" if fit else ""
        clipped = f", {config['values']['clipped']} values clipped" if config["values"]["clipped"] else ""
        print(f"config     {name}: {len(config['edges']) - 1} bins{fitted}{clipped}")
    print(f'load it    load_dataset("{output}", "{next(iter(manifest["configs"]))}")')


def print_preview(shown):
    """Print what `specdata.dataset.preview.preview` found of a row."""
    text = shown["text"] if len(shown["text"]) < 100 else f"{shown['text'][:72]} … {shown['text'][-20:]}"
    print(f"row        {shown['split']}:{shown['number']}, {shown['name']}, z = {shown['z']:.4f}")
    print(f"text       {shown['config']}, {shown['bins']} values: {text}")
    clipped = f", {shown['clipped']} values clipped" if shown["clipped"] else ""
    print(f"error      at most {shown['error']:.4f} of the normalised flux{clipped}")
    print(f"figure     {shown['path']}")


def print_results(results):
    """Print the metrics of a model and of the baselines as a table."""
    sets = {"model": results["metrics"]} | {name: b["metrics"] for name, b in results["baselines"].items()}
    data = results["dataset"]
    print(f"\n{data['name']} {data['config']} {data['split']}, n = {data['n']}, revision {data['revision'][:12]}")
    print(f"{'':<20}" + "".join(f"{name:<28}" for name in results["metrics"]))
    for name, scores in sets.items():
        cells = (f"{m['value']:.4f} [{m['low']:.4f}, {m['high']:.4f}]" for m in scores.values())
        print(f"{name.replace('_', ' '):<20}" + "".join(f"{cell:<28}" for cell in cells))
    if "posterior" in results:
        found = results["posterior"]["metrics"]
        cells = (f"{name} {m['value']:.4f} [{m['low']:.4f}, {m['high']:.4f}]" for name, m in found.items())
        print("p(z)                " + ", ".join(cells))


def print_predictions(predictions):
    """Print predictions of `specdata.inference.reader.Prediction.to_dict` as a table."""
    width = max(8, *(len(row["file"]) for row in predictions))
    print(f"{'file':<{width}}  {'class':<8}{'z_file':>8}{'answer':>9}{'median':>9}   {'68 %':<18}{'95 %':<18}outside")
    for row in predictions:
        answer = "none" if row["z"] is None else f"{row['z']:.4f}"
        spans = (f"{low:.4f} to {high:.4f}" for low, high in (row["interval_68"], row["interval_95"]))
        print(
            f"{row['file']:<{width}}  {row['class']:<8}{row['z_file']:>8.4f}{answer:>9}{row['median']:>9.4f}   "
            + "".join(f"{span:<18}" for span in spans)
            + f"{100 * row['outside']:.1f} %"
        )
        for warning in row["warnings"]:
            print(f"{'':<{width}}  {warning}")


def print_demo(output):
    """Print where the results of the demo lie."""
    print(
        f"""
This proves the line, not the method: a small model, a few hundred mocks, a few coarse bins, a few steps.

data set     {output}/data
adapter      {output}/adapter, with its card README.md and its figure redshift.png
predictions  {output}/evaluation/predictions.parquet

Load it:
  import peft, transformers
  model = transformers.AutoModelForCausalLM.from_pretrained("{output}/base")
  model = peft.PeftModel.from_pretrained(model, "{output}/adapter")
  tokenizer = transformers.AutoTokenizer.from_pretrained("{output}/adapter")"""
    )


def print_changes(planned):
    """Print the files that a publication consists of, and what becomes of each."""
    changes = planned.changes
    groups = {"new": changes.added, "changed": changes.changed, "as it is": changes.same}
    rows = sorted((upload.path, upload.size, what) for what, uploads in groups.items() for upload in uploads)
    print(f"{planned.repo} ({'data set' if planned.repo_type == 'dataset' else 'adapter'}), version {planned.tag}")
    for path, size, what in rows:
        print(f"  {what:<9} {size:>15,}  {path}")
    for path in changes.removed:
        print(f"  {'removed':<9} {'':>15}  {path}")
    sent = [upload.size for upload in changes.added + changes.changed]
    print(f"  {len(sent)} of {len(rows)} files to send, {sum(sent):,} bytes; no secret and no local path was found")
    for path in planned.left_out:
        print(f"  stays here: {path}")
    for note in planned.notes:
        print(f"  note: {note}")


def print_published(done):
    """Print what a publication did."""
    from huggingface_hub import constants

    if done.commit is None:
        print("nothing was sent, for this was a dry run")
        return
    place = f"{constants.ENDPOINT}/{'datasets/' if done.repo_type == 'dataset' else ''}{done.repo}"
    print(f"{'published' if done.made else 'no change'}  {place}, commit {done.commit[:7]}, tag {done.tag}")
    if done.collection:
        print(f"collection {done.collection}")


def print_check(report):
    """Print what `specdata.training.check` found: what the training takes, then what is wrong, the worst first."""
    for name, fact in report.facts.items():
        print(f"{name}: {fact}")
    for level, sentence in report.findings:
        print(f"{'FAILS' if level == 'fail' else 'warns'}  {sentence}")
    print(
        f"{len(report.failed)} findings would make the launch fail"
        if report.failed
        else "nothing found that would fail"
    )
