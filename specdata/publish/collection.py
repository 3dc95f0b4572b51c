"""A collection on the Hub that ties data sets, adapters and the paper together."""

from specdata.hub import hub_errors


def add_to_collection(title, namespace, items, *, private=False):
    """Put repositories into a collection beside the paper; its address.

    Parameters
    ----------
    title : str
        Of the collection in `namespace`, which is made if there is none; or the name of one, with its slash.
    namespace : str
    items : list of (str, str)
        Name and kind of each.
    private : bool
        Whether a new one is private.
    """
    from huggingface_hub import HfApi, constants

    api = HfApi()
    with hub_errors(f"collection {title}"):
        if "/" in title:
            slug = title
        else:
            owned = [c for c in api.list_collections(owner=namespace) if c.title == title]
            text = "Spectra as text for language models: the data, the adapters trained on it, and the paper."
            made = owned[0] if owned else api.create_collection(
                title, namespace=namespace, description=text, private=private
            )  # fmt: skip
            slug = made.slug
        for name, kind in items:
            api.add_collection_item(slug, name, kind, exists_ok=True)
    return f"{constants.ENDPOINT}/collections/{slug}"
