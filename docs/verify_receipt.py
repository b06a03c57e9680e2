"""Checks a Gridbay receipt with nothing but Python: python3 verify_receipt.py RECEIPT.json [RPC_URL TREASURY]

Written from docs/formats alone. With the URL of a Solana RPC and the treasury's address it reads the anchors, too."""

import hashlib
import json
import sys
import urllib.request
from collections import defaultdict
from pathlib import Path


def sha(*parts, document=None):
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return hashlib.sha256(b"".join(parts) + (canonical if document else b"")).digest()


def require(holds, what):
    return holds or sys.exit(f"WRONG: {what}")


def root_of(node, index, width, path):
    path, fits = [bytes.fromhex(item) for item in path], 0 <= index < width  # An odd last node moves up unchanged.
    while width > 1:
        if index ^ 1 < width:
            require(fits and path, "a path is too short")
            node = sha(b"\x01", *((path.pop(0), node) if index % 2 else (node, path.pop(0))))
        index, width = index // 2, (width + 1) // 2
    require(fits and not path, "a path does not fit its leaf")
    return node


def check_anchor(url, treasury, signature, epoch):
    options = {"encoding": "jsonParsed", "commitment": "finalized", "maxSupportedTransactionVersion": 1}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "getTransaction", "params": [signature, options]}
    request = urllib.request.Request(url, json.dumps(asked).encode(), {"Content-Type": "application/json"})
    found = json.load(urllib.request.urlopen(request, timeout=30)).get("result")
    require(found and found["meta"]["err"] is None, f"epoch {epoch['epoch']} is not anchored by {signature}")
    message = found["transaction"]["message"]
    memo = "gridbay/epoch/v1 {epoch} {root} {line_count} {total_microusd}".format(**epoch)
    require(any(item.get("parsed") == memo for item in message["instructions"]), "the anchor's memo")
    require(treasury in [key["pubkey"] for key in message["accountKeys"] if key["signer"]], "the anchor's signer")


receipt, reached, left = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), {}, {}
adjusted = receipt.get("adjustments", [])
require(receipt["format"] == f"gridbay/receipt/v{2 if adjusted else 1}", "the format")
for entry in sorted(receipt["lines"], key=lambda item: item["line"]["window_number"]):
    line, epoch, name = defaultdict(int, entry["line"]), entry["epoch"], entry["line"]["line_id"]
    less, points, amount = line["discount_basis_points"], line["fee_basis_points"], line["amount_microusd"]
    beside = sum(line[f"{kind}_bytes"] * line[f"{kind}_microusd_per_gib_hour"] for kind in ("memory", "disk")) * 1000
    beside += line["cpu_milli"] * line["cpu_microusd_per_hour"] * 2**30
    asked = line["unit_microusd_per_hour"] + beside // (line["quantity_milli"] * 2**30 or 1)
    paid, price = asked * (10_000 - less) // 10_000, line["price_microusd_per_unit_hour"]
    made = sum(key.endswith("_hour") for key in entry["line"]) > 1  # It tells what its price was made of.
    require(not made or price == min(paid, line["bid_microusd_per_unit_hour"] or paid), f"the price of {name}")
    window, ran_ms, charged = reached.get(line["lease_id"], (-1, 0, 0))
    following = line["from_ms"] == ran_ms <= line["to_ms"] and line["charged_before_microusd"] == charged
    require(following and line["window_number"] > window, f"{name} does not continue the one before it")
    due = line["quantity_milli"] * max(line["to_ms"], line["minimum_ms"]) * price // 3_600_000_000 - charged
    require(amount == due or (line["capped"] and 0 <= amount < due), f"the amount of {name}")
    shares = [amount * (10_000 - points) // (10_000 - less or 1), amount * (points - less) // (10_000 - less or 1)]
    found = [line["provider_microusd"], line["fee_microusd"], line["rounding_microusd"]]
    require(0 <= less <= points <= 10_000 != less and found == [*shares, amount - sum(shares)], f"the shares of {name}")
    require(line["job_id"] == receipt["job_id"], f"{name} is of another job")
    leaf = sha(b"gridbay/leaf/v1\n", bytes.fromhex(entry["salt"]), document=entry["line"])
    tree = root_of(leaf, entry["index"], epoch["line_count"], entry["path"])
    numbers = {key: epoch[key] for key in ("epoch", "line_count", "total_microusd")}
    require(sha(b"gridbay/epoch/v1\n", tree, document=numbers).hex() == epoch["root"], f"{name} is in another epoch")
    reached[line["lease_id"]], left[name] = (line["window_number"], line["to_ms"], charged + amount), amount
    if len(sys.argv) > 3:
        check_anchor(*sys.argv[2:4], entry["anchor_signature"], epoch)
added, back = sum(left.values()), sum(item["amount_microusd"] for item in adjusted)
for item in adjusted:
    amount, *parts = (item[f"{part}_microusd"] for part in ("amount", "provider", "fee", "rounding"))
    left[item["line_id"]] -= amount
    require(sum(parts) == amount > 0 <= min(*parts, left[item["line_id"]]), item["adjustment_id"])
require((added, back) == (receipt["total_microusd"], receipt.get("credited_microusd", 0)), "the sums")
print(f"OK: {len(left)} lines, {added / 1e6:.6f} USDC, {back / 1e6:.6f} given back{', anchored' * (len(sys.argv) > 3)}")
