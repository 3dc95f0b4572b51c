"""What the test Hub answers to each request, see `hub_server`."""

import asyncio
import base64
import fnmatch
import hashlib
import itertools
import json
import re
import time
from urllib.parse import parse_qs

import yaml
from hub_storage import HubError
from starlette.applications import Starlette
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

LARGE = (".parquet", ".safetensors", ".png", ".bin")
REPO = "/api/{kind:str}s/{space}/{name}"


def application(hub):
    """The Starlette application that serves what a `hub_server.Hub` stores."""
    storage = hub.storage

    def user_of(request):
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in storage.users:
            raise HubError(401, "Invalid credentials in Authorization header")
        return storage.users.get(token)

    def find(request, *, write=False, content=False):
        """The repository of a request, if its user may do that."""
        at = request.path_params
        kind = at.get("kind", "model")
        name, user = f"{at['space']}/{at['name']}", user_of(request)
        repo = storage.repos.get((kind, name))
        own = user is not None and at["space"] in (user.name, *user.orgs)
        if repo is None or (repo.private and not own):
            raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
        if content and repo.gated and not own and (user is None or user.name not in repo.admitted):
            raise HubError(403 if user else 401, f"Access to {kind} {name} is restricted", "GatedRepo")
        if write and not (own and user.role == "write"):
            raise HubError(403 if user else 401, "You need write access to this repository")
        return repo

    def handler(function):
        async def run(request):
            try:
                return await function(request)
            except HubError as error:
                headers = {"X-Error-Message": str(error), **({"X-Error-Code": error.code} if error.code else {})}
                return JSONResponse({"error": str(error)}, error.status, headers | error.headers)

        return run

    def info(repo, revision="main"):
        commit = repo.resolve(revision)
        return {
            "_id": "0" * 24, "id": repo.name, "sha": commit.sha, "private": repo.private, "tags": [], "disabled": False,
            "gated": "manual" if repo.gated else False, "downloads": 0, "likes": 0, "lastModified": commit.date,
            "createdAt": commit.date, "author": repo.name.partition("/")[0],
            "siblings": [{"rfilename": path} for path in commit.files],
        }  # fmt: skip

    def described(path, entry, history=None):
        item = {"type": "file", "path": path, "size": entry.size, "oid": entry.oid}
        if history:  # newest first
            last = [c for c in itertools.takewhile(lambda c: c.files.get(path) == entry, history)][-1]
            item["lastCommit"] = {"id": last.sha, "title": last.title, "date": last.date}
        if entry.lfs:
            item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 130}
        return item | ({"xetHash": entry.xet} if entry.xet else {})

    async def whoami(request):
        user = user_of(request)
        if user is None:
            raise HubError(401, "Invalid username or password.")
        token = {"displayName": f"{user.name}-{user.role}", "role": user.role}
        return JSONResponse(
            {
                "type": "user", "id": user.name, "name": user.name, "fullname": user.name,
                "orgs": [{"name": org, "roleInOrg": "write"} for org in user.orgs],
                "auth": {"type": "access_token", "accessToken": token},
            }
        )  # fmt: skip

    async def create(request):
        user, asked = user_of(request), await request.json()
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if user.role != "write":
            raise HubError(403, "You don't have the rights to create a repository")
        kind, name = asked.get("type", "model"), f"{asked.get('organization') or user.name}/{asked['name']}"
        answer = {"url": f"{hub.url}/{'' if kind == 'model' else kind + 's/'}{name}", "name": name}
        if (kind, name) in storage.repos:
            return JSONResponse(answer | {"error": "You already created this repository"}, 409)
        storage.create(kind, name, user, private=asked.get("visibility") == "private")
        return JSONResponse(answer)

    async def validate_yaml(request):
        content = (await request.json())["content"]
        found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        try:
            yaml.safe_load(found[1]) if found else None
        except yaml.YAMLError as error:
            return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, 400)
        return JSONResponse({"errors": [], "warnings": []})

    async def repo_info(request):
        return JSONResponse(info(find(request), request.path_params.get("revision", "main")))

    async def auth_check(request):
        find(request, content=True, write=request.url.path.endswith("/write"))
        return JSONResponse({})

    async def tree(request):
        repo = find(request)
        files = repo.resolve(request.path_params["revision"]).files
        root = request.path_params.get("path", "").strip("/")
        prefix = f"{root}/" if root else ""
        if root and not any(path.startswith(prefix) for path in files):
            raise HubError(404, f"{root} does not exist", "EntryNotFound")
        items, folders = [], set()
        for path, entry in files.items():
            if not path.startswith(prefix):
                continue
            parents = path[len(prefix) :].split("/")[:-1]
            deep = request.query_params.get("recursive", "").lower() in ("true", "1")
            for depth in range(len(parents)):
                folder = prefix + "/".join(parents[: depth + 1])
                if folder not in folders and (deep or depth == 0):
                    folders.add(folder)
                    items.append({"type": "directory", "path": folder, "size": 0, "oid": "0" * 40})
            if deep or not parents:
                items.append(described(path, entry))
        start = int(request.query_params.get("cursor", 0))
        headers = {}
        if start + 50 < len(items):  # so that clients have to turn the page
            following = request.url.include_query_params(cursor=start + 50)
            headers["Link"] = f'<{following}>; rel="next"'
        return JSONResponse(items[start : start + 50], headers=headers)

    async def paths_info(request):
        files = find(request).resolve(request.path_params["revision"]).files
        content = await request.body()
        as_json = request.headers.get("content-type", "").startswith("application/json")
        asked = json.loads(content) if as_json else parse_qs(content.decode())
        expand = str(asked.get("expand", False)).strip("[]'").lower() == "true"  # what DuckDB's reader asks for
        history = find(request).history(request.path_params["revision"]) if expand else None
        paths = asked["paths"]
        found = [described(path, files[path], history) for path in paths if path in files]
        folders = [path for path in paths if any(name.startswith(f"{path.rstrip('/')}/") for name in files)]
        found += [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in folders]
        return JSONResponse(found)

    async def refs(request):
        repo = find(request)

        def rows(kind, names):
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": sha} for n, sha in names.items()]

        return JSONResponse({"branches": rows("heads", repo.branches), "tags": rows("tags", repo.tags), "converts": []})

    async def preupload(request):
        repo, asked = find(request, write=True), await request.json()
        files, answer = repo.resolve(request.path_params["revision"]).files, []
        for item in asked["files"]:
            sample = base64.b64decode(item["sample"])
            large = item["path"].endswith(LARGE) or item["size"] > 10_000_000 or b"\0" in sample
            entry, ignored = files.get(item["path"]), files.get(".gitignore")
            ignored = storage.object(ignored.sha256).read_text().split() if ignored else []
            ignored = any(fnmatch.fnmatch(item["path"], pattern) for pattern in ignored)
            known = {"oid": entry.sha256 if entry.lfs else entry.oid} if entry else {}
            answer.append(
                {"path": item["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": ignored} | known
            )
        return JSONResponse({"files": answer})

    async def commit(request):
        repo, added, deleted, header = find(request, write=True), {}, [], {}
        for line in (await request.body()).splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                header = value
            elif key == "file":
                added[value["path"]] = storage.blob(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                entry = await asyncio.to_thread(storage.large, value["oid"])
                if entry is None:
                    raise HubError(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                added[value["path"]] = entry
            else:
                deleted.append(value["path"])
        onto, pull = request.path_params["revision"], None
        if request.query_params.get("create_pr") == "1":
            pull = sum(name.startswith("refs/pr/") for name in repo.branches) + 1
            onto, repo.branches[f"refs/pr/{pull}"] = f"refs/pr/{pull}", repo.branches[onto]
        made = storage.commit(
            repo, onto, added, deleted, header["summary"], header.get("description", ""),
            user_of(request), header.get("parentCommit"),
        )  # fmt: skip
        answer = {"commitUrl": f"{hub.url}/{repo.name}/commit/{made.sha}", "commitOid": made.sha}
        if pull:
            where = "" if repo.kind == "model" else f"{repo.kind}s/"
            answer["pullRequestUrl"] = f"{hub.url}/{where}{repo.name}/discussions/{pull}"
        return JSONResponse(answer)

    async def branch(request):
        repo, wanted = find(request, write=True), request.path_params["branch"]
        if wanted in repo.branches:
            raise HubError(409, f"Branch {wanted} already exists")
        body = await request.body()
        repo.branches[wanted] = repo.resolve((json.loads(body) if body else {}).get("startingPoint") or "main").sha
        return JSONResponse({})

    async def tag(request):
        repo, wanted = find(request, write=True), (await request.json())["tag"]
        if wanted in repo.tags:
            raise HubError(409, f"Tag {wanted} already exists")
        repo.tags[wanted] = repo.resolve(request.path_params["revision"]).sha
        return JSONResponse({})

    async def lfs_batch(request):
        find(request, write=True)
        objects = []
        for item in (await request.json())["objects"]:
            made = {"oid": item["oid"], "size": item["size"]}
            if not storage.object(item["oid"]).is_file():
                upload = {"href": f"{hub.url}/lfs/{item['oid']}", "header": {}}
                made["actions"] = {"upload": upload, "verify": {"href": f"{upload['href']}/verify", "header": {}}}
            objects.append(made)
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def lfs_put(request):
        oid, digest = request.path_params["oid"], hashlib.sha256()
        partial = storage.folder / "parts" / f"{oid}.{time.monotonic_ns()}"
        with partial.open("wb") as stream:
            async for piece in request.stream():
                hub.received[oid] = hub.received.get(oid, 0) + len(piece)
                stream.write(piece)
                digest.update(piece)
        if digest.hexdigest() != oid:
            raise HubError(400, "The content is not that of the name")
        partial.rename(storage.object(oid))
        return Response(headers={"ETag": f'"{oid}"'})

    async def lfs_verify(request):
        asked, path = await request.json(), storage.object(request.path_params["oid"])
        if not path.is_file() or path.stat().st_size != asked["size"]:
            raise HubError(404, "The file is not there")
        return JSONResponse({})

    async def xet_token(request):
        writes = "xet-write-token" in request.url.path
        find(request, write=writes, content=not writes)
        folder = storage.xet_folder() if writes else storage.xet_view()
        url, expires = f"local://{folder}", int(time.time()) + 3600
        headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(expires)}
        return JSONResponse({"casUrl": url, "exp": expires, "accessToken": "xet"}, headers=headers)

    async def resolve(request):
        repo, path = find(request, content=True), request.path_params["path"]
        found = repo.resolve(request.path_params["revision"])
        if path not in found.files:
            raise HubError(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": found.sha})
        entry = found.files[path]
        etag = f'"{entry.sha256 if entry.lfs else entry.oid}"'
        headers = {"X-Repo-Commit": found.sha, "ETag": etag, "Cache-Control": "no-cache"}
        if entry.lfs:
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(entry.size)}
        if entry.xet:
            route = f"{hub.url}/api/{repo.kind}s/{repo.name}/xet-read-token/{found.sha}"
            headers |= {"X-Xet-Hash": entry.xet, "Link": f'<{route}>; rel="xet-auth"'}
        return FileResponse(storage.object(entry.sha256), headers=headers)  # which does ranges

    async def collections(request):
        if request.method == "GET":
            owner = request.query_params.get("owner")
            owned = [c for c in storage.collections.values() if c["owner"]["name"] == owner]
            return JSONResponse([{key: c[key] for key in c if key != "position"} for c in owned])
        user, asked = user_of(request), await request.json()
        if user is None or user.role != "write" or asked["namespace"] not in (user.name, *user.orgs):
            raise HubError(403 if user else 401, "You may not make a collection there")
        title = re.sub(r"[^a-z0-9]+", "-", asked["title"].lower())
        slug = f"{asked['namespace']}/{title}-{len(storage.collections):024x}"
        storage.collections[slug] = {
            "slug": slug, "title": asked["title"], "description": asked.get("description"), "items": [], "position": 0,
            "owner": {"name": asked["namespace"]}, "private": asked["private"], "theme": "blue", "upvotes": 0,
            "lastUpdated": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip
        return JSONResponse(storage.collections[slug])

    async def collection(request):
        found = storage.collections.get(f"{request.path_params['space']}/{request.path_params['name']}")
        if found is None:
            raise HubError(404, "Collection not found")
        if request.method == "GET":
            return JSONResponse(found)
        user, asked = user_of(request), await request.json()
        if user is None or user.role != "write" or found["owner"]["name"] not in (user.name, *user.orgs):
            raise HubError(403 if user else 401, "You may not change this collection")
        item = asked["item"]
        if (item["type"], item["id"]) in {(i["type"], i["id"]) for i in found["items"]}:
            raise HubError(409, "Item already in collection")
        if item["type"] != "paper" and (item["type"], item["id"]) not in storage.repos:
            raise HubError(404, "Item not found")
        number = len(found["items"])
        note = {"note": {"text": asked["note"]}} if asked.get("note") else {}
        found["items"].append({"_id": f"{number:024x}", "position": number, **note, **item})
        return JSONResponse(found)

    reads, writes = ["GET"], ["POST"]
    routes = [
        ("/api/whoami-v2", whoami, reads), ("/api/repos/create", create, writes),
        ("/api/validate-yaml", validate_yaml, writes), ("/api/collections", collections, ["GET", "POST"]),
        ("/api/collections/{space}/{name}", collection, reads),
        ("/api/collections/{space}/{name}/items", collection, writes),
        (REPO, repo_info, reads), (f"{REPO}/revision/{{revision}}", repo_info, reads),
        (f"{REPO}/auth-check", auth_check, reads), (f"{REPO}/auth-check/write", auth_check, reads),
        (f"{REPO}/tree/{{revision}}", tree, reads), (f"{REPO}/tree/{{revision}}/{{path:path}}", tree, reads),
        (f"{REPO}/paths-info/{{revision}}", paths_info, writes), (f"{REPO}/refs", refs, reads),
        (f"{REPO}/preupload/{{revision}}", preupload, writes),
        (f"{REPO}/branch/{{branch}}", branch, writes), (f"{REPO}/commit/{{revision}}", commit, writes),
        (f"{REPO}/tag/{{revision}}", tag, writes),
        (f"{REPO}/xet-read-token/{{revision}}", xet_token, reads),
        (f"{REPO}/xet-write-token/{{revision}}", xet_token, reads),
        ("/{kind:str}s/{space}/{name}.git/info/lfs/objects/batch", lfs_batch, writes),
        ("/{space}/{name}.git/info/lfs/objects/batch", lfs_batch, writes),
        ("/lfs/{oid}/verify", lfs_verify, writes), ("/lfs/{oid}", lfs_put, ["PUT"]),
        ("/{kind:str}s/{space}/{name}/resolve/{revision}/{path:path}", resolve, ["GET", "HEAD"]),
        ("/{space}/{name}/resolve/{revision}/{path:path}", resolve, ["GET", "HEAD"]),
    ]  # fmt: skip
    return Starlette(routes=[Route(path, handler(function), methods=methods) for path, function, methods in routes])
