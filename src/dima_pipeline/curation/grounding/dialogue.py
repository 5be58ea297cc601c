"""A question and its answer as one: what the answer says without naming anyone is said of the question's topic.

"Yes" and "no" say the question itself. The result is a list of claims, each weighed against the tables.
"""

from collections.abc import Iterator
from dataclasses import replace

from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.curation.grounding import scene, simulated, states
from dima_pipeline.curation.grounding.danger import ACTIONS, Danger
from dima_pipeline.curation.grounding.evidence import Evidence, Thing
from dima_pipeline.curation.grounding.importance import rank_m
from dima_pipeline.curation.grounding.judges import EGO_JUDGES, EGO_NAMES, OBJECT_JUDGES, SCENE_JUDGES, name_of
from dima_pipeline.curation.grounding.lexicon import ANYTHING
from dima_pipeline.curation.grounding.objects import Finder
from dima_pipeline.curation.grounding.presence import count_claim, exists, kinds_claim, phrase_claims, topic_claims
from dima_pipeline.curation.grounding.relations import relation
from dima_pipeline.curation.grounding.statements import Phrase, Said, Text, read_text
from dima_pipeline.curation.grounding.tolerances import CLEAR_M, Tolerance
from dima_pipeline.curation.grounding.topics import is_map, places, proposed, retold, topic_of
from dima_pipeline.curation.grounding.truth import Claim, both, denied, either

_OF_ONE = frozenset({"direction", "distance", "speed", "status", "motion"})
_NO_LIST = frozenset(
    {"count", "distance", "speed", "direction", "important", "motion", "turn_signal", "event", "danger"}
)


class Dialogue:
    """One pair, read and weighed."""

    def __init__(self, pair: VqaPair, evidence: Evidence, tolerance: Tolerance) -> None:
        self.pair, self.evidence, self.tolerance = pair, evidence, tolerance
        self.question, self.answer = read_text(pair.question, is_question=True), read_text(pair.answer)
        self.finder = Finder(evidence, tolerance, OBJECT_JUDGES)
        self.danger = Danger(evidence, tolerance)
        self.named = tuple(pair.objects)

    def claims(self) -> Iterator[Claim]:
        """All claims of the pair."""
        asks, answer = self.question.asks, self.answer
        is_wh = bool(asks - {"danger", "safe", "status", "event", "path", "turn_signal"})
        if answer.answer is not None and not is_wh:
            yield from self._confirmed(answer.answer)
            yield from self._stated(None)
        elif "probability" in asks:
            yield from self._probability()
        elif "danger" in asks and answer.answer is None:
            yield from self._dangers()
        else:
            topic = topic_of(self.question)
            if "event" in asks:
                yield from self._all_events()
            others = [*self.question.references, *self.question.phrases[1:]]
            if others and self.answer.has("relation"):
                yield from self._relations(others[0])
            else:
                yield from self._stated(topic)

    # --- yes and no ---

    def _confirmed(self, is_yes: bool) -> Iterator[Claim]:
        question = self.question
        if "danger" in question.asks:
            yield from self._collision(is_yes)
            return
        found = [*self._proposed(), *self._scene(question)]
        if found:
            truth = denied(both(claim.truth for claim in found), not is_yes)
            said = "yes" if is_yes else "no"
            held = found[-1].reason.partition("tables hold ")[2] or "otherwise"
            reason = f"{found[-1].kind}: said {said} to “{self.pair.question[:80]}”, tables hold {held}"
            yield Claim(found[-1].kind, truth, reason)

    def _proposed(self) -> Iterator[Claim]:
        for phrase in self.question.phrases:
            if is_map(phrase):
                yield from self._map_claims(phrase)
                continue
            whole = proposed(phrase, self.question)
            values = [said for said in (*whole.said, *whole.limits) if said.kind in OBJECT_JUDGES]
            kind = name_of(values[0].kind, values[0].value) if values else "presence"
            things = [one.thing for one in self.finder.meant(replace(whole, limits=[], said=[]), self.named)]
            words = [self.finder.holds(values[0], thing).words if values else thing.category for thing in things[:3]]
            truth = exists(self.finder, whole, self.named)
            yield Claim(kind, truth, f"tables hold {', '.join(words) or 'none'}")
        yield from self._ego(self.question.ego)

    # --- collisions ---

    def _things(self) -> list[Thing]:
        """What a question about collisions speaks of: its objects, else all that may be there."""
        topic = topic_of(self.question)
        if topic is None or not self.question.phrases:
            return [thing for thing in self.evidence.things if thing.is_seen or thing.is_doubtful]
        return self._chosen(topic)

    def _chosen(self, topic: Phrase) -> list[Thing]:
        things = [one.thing for one in self.finder.meant(topic, self.named)]
        return [thing for thing in things if self.named == (thing.instance,)] or things

    def _moves(self, text: Text) -> list[str]:
        of_phrases = (said for phrase in text.phrases for said in phrase.said)
        return [said.value for said in (*text.loose, *text.ego, *of_phrases) if said.kind == "move"]

    def _collision(self, is_yes: bool) -> Iterator[Claim]:
        moves = self._moves(self.question)
        if len(moves) == 1 and moves[0] in ACTIONS:
            truth = self.danger.collides(moves[0], self._things())
            said, held = ("yes" if one else "no" for one in (is_yes, truth))
            yield Claim("collision", denied(truth, not is_yes), f"collision: said {said}, rolled out {held}")

    def _probability(self) -> Iterator[Claim]:
        moves, levels = self._moves(self.question), [said.value for said in self.answer.loose if said.kind == "level"]
        things = self._things()
        if len(moves) != 1 or len(levels) != 1 or not things:
            return
        found = {self.danger.level(moves[0], thing) for thing in things} - {None}
        is_near = self.tolerance.has_hidden and "medium" in found | set(levels)
        truth = levels[0] in found or (None if is_near or not found else False)
        yield Claim("collision", truth, f"collision: said {levels[0]}, rolled out {', '.join(sorted(map(str, found)))}")

    def _dangers(self) -> Iterator[Claim]:
        """A list of the actions that would collide with the topic, or with anything."""
        said = set(self._moves(self.answer))
        if not (said or any(one.kind == "none" for one in self.answer.loose)):
            return
        things = self._things()
        groups = [[thing] for thing in things] if self.question.phrases else [things]
        found = [self._danger_claim(said, group) for group in groups]
        # Where the words could mean several objects, it is enough that the list is right for one.
        yield from sorted(found, key=lambda claim: claim.truth is not True)[:1]

    def _danger_claim(self, said: set[str], things: list[Thing]) -> Claim:
        truths = {name: self.danger.collides(name, things) for name in ACTIONS}
        agrees = (None if truth is None else truth == (name in said) for name, truth in truths.items())
        held = ", ".join(name for name, truth in truths.items() if truth) or "none"
        words = ", ".join(sorted(said)) or "none"
        return Claim("collision", both(agrees), f"collision: said {words}, rolled out {held}")

    # --- statements ---

    def _stated(self, topic: Phrase | None) -> Iterator[Claim]:
        answer = self.answer
        yield from self._scene(answer)
        loose = retold([said for said in answer.loose if said.kind not in SCENE_JUDGES], self.question, answer)
        if topic is not None and self._is_list(loose):
            yield kinds_claim(self.finder, topic, answer.phrases, is_complete=not self.tolerance.has_hidden)
            return
        if topic is not None:
            yield from self._of_topic(topic, loose)
        elif self.question.has_ego or self.answer.has_ego:
            yield from self._ego(loose)
        else:
            yield from self._ego([said for said in loose if said.kind != "measure"])
        yield from self._ego(retold(answer.ego, self.question, answer))
        yield from self._phrases(topic)

    def _is_list(self, loose: list[Said]) -> bool:
        """Whether the answer is a bare list of kinds, or none, to a question for kinds."""
        asks = self.question.asks
        if not asks & {"kinds", "which"} or asks & _NO_LIST:
            return False
        plain = all(not (one.limits or one.said or one.tag or one.count) for one in self.answer.phrases)
        none = [one for one in loose if one.kind == "none"]
        return plain and len(loose) == len(none) and bool(self.answer.phrases or none) and not self.answer.ego

    def _of_topic(self, topic: Phrase, loose: list[Said]) -> Iterator[Claim]:
        """What the answer says without naming anyone."""
        if is_map(topic):
            if any(said.kind == "color" for said in loose):
                yield from self._map_claims(replace(topic, said=loose))
            return
        counts = [said for said in loose if said.kind == "count"]
        if any(said.kind == "none" for said in loose):
            limits = [*topic.limits, *(said for said in loose if said.kind == "measure")]
            yield from topic_claims(self.finder, replace(topic, count=(0, 0), nearest=0, limits=limits))
        elif counts and "count" in self.question.asks:
            yield from topic_claims(self.finder, replace(topic, count=counts[0].value))
        elif loose:
            said = [one for one in loose if one.kind in OBJECT_JUDGES]
            yield from topic_claims(self.finder, replace(topic, said=said), self.named)

    def _phrases(self, topic: Phrase | None) -> Iterator[Claim]:
        """Of the objects that the answer names itself."""
        asks, plain = self.question.asks, []
        for phrase in self.answer.phrases:
            if is_map(phrase):
                yield from self._map_claims(phrase)
                continue
            whole = replace(phrase, said=retold(phrase.said, self.question, self.answer))
            if topic is not None and topic.tag and not topic.is_named and not whole.tag:
                whole = replace(whole, tag=topic.tag)
            if topic is not None and whole.count == (0.0, 0.0) and asks & _OF_ONE:
                # "There is no such thing" in place of where or how far it is: then there is none of the topic.
                yield from topic_claims(self.finder, replace(topic, count=(0.0, 0.0), nearest=0))
            is_bare = not (whole.limits or whole.said or whole.tag)
            if topic is not None and (whole.count is not None or (is_bare and topic.kinds == ANYTHING)):
                whole = replace(whole, limits=[*whole.limits, *places(topic, whole)])
            is_event = any(said.kind in ("event", "crossing") for said in whole.said)
            yield from self._events(whole) if is_event else phrase_claims(self.finder, whole, self.named)
            if not (is_event and "event" in asks):
                plain.append(whole)
        if topic is not None and plain and all(phrase.count is not None for phrase in plain):
            yield from self._total(topic, plain)
        if asks & {"important", "identity", "order"} or self.answer.reasons:
            yield from self._matched(plain)

    def _total(self, topic: Phrase, phrases: list[Phrase]) -> Iterator[Claim]:
        """A list that counts is complete, and of the kind that was asked for; free writers may leave out."""
        low, high = (sum(phrase.count[at] for phrase in phrases if phrase.count) for at in (0, 1))
        if self.tolerance.has_hidden or not self.question.asks & {"count", "status", "which", "kinds"} or not high:
            return
        for phrase in phrases:
            is_asked = bool(phrase.kinds.possible & topic.kinds.possible)
            yield Claim("kind", is_asked, f"kind: said {phrase.kinds.noun}, but {topic.kinds.noun} was asked for")
        yield count_claim(self.finder, replace(topic, count=(low, high)))

    def _matched(self, phrases: list[Phrase]) -> Iterator[Claim]:
        """Whether the objects that the pair names are those of its words, in the order of their importance."""
        if len(phrases) != len(self.named) or not phrases:
            return
        things = {thing.instance: thing for thing in self.evidence.things}
        for phrase, instance in zip(phrases, self.named, strict=True):
            meant = {one.thing.instance for one in self.finder.meant(phrase, self.named)}
            reason = (
                f"named: said {phrase.words}, tables hold that the object named lies elsewhere or is something else"
            )
            yield Claim("named", instance in meant, reason)
        if not self.tolerance.has_hidden and self.question.asks & {"important", "order"}:
            ranks = [rank_m(things[name], self.evidence) for name in self.named if name in things]
            yield Claim("importance", ranks == sorted(ranks), "importance: said in another order than the tables hold")

    def _relations(self, reference: Phrase) -> Iterator[Claim]:
        """How the first object of the question lies relative to the second."""
        question = self.question
        if not question.phrases:
            return
        sides = [set(self.named[at : at + 1]) if len(self.named) == 2 else set() for at in (0, 1)]
        groups = [
            [one.thing for one in self.finder.meant(replace(phrase, said=[]), tuple(side))]
            for phrase, side in zip((question.phrases[0], reference), sides, strict=True)
        ]
        picked = [
            [thing for thing in group if thing.instance in side] or group
            for group, side in zip(groups, sides, strict=True)
        ]
        for said in self.answer.loose:
            if said.kind == "relation":
                held = [relation(said, one, other, self.tolerance) for one in picked[0] for other in picked[1]]
                words = ", ".join(one.words for one in held[:3]) or "none"
                truth = either(one.truth for one in held) if held else None
                yield Claim("position", truth, f"position: said {said.text}, tables hold {words}")

    # --- map, events, ego, scene ---

    def _map_claims(self, phrase: Phrase) -> Iterator[Claim]:
        truth = scene.map_element(phrase, self.evidence, self.tolerance)
        held = "none" if truth is False else "one"
        colours = [said for said in (*phrase.said, *phrase.limits) if said.kind == "color"]
        yield Claim("map", denied(truth, phrase.count == (0.0, 0.0)), f"map: said {phrase.words}, tables hold {held}")
        for said in colours if "signal" in phrase.kinds.sure else ():
            found = scene.colour(said, self.evidence, self.tolerance)
            reason = f"signal: said {'not ' * said.is_not}{said.text}, tables hold {found.words}"
            yield Claim("signal", denied(found.truth, said.is_not), reason)

    def _events(self, phrase: Phrase | None, loose: list[Said] | None = None) -> Iterator[Claim]:
        kinds = phrase.kinds if phrase is not None else None
        for said in phrase.said if phrase is not None else loose or ():
            if said.kind in ("event", "crossing"):
                held = simulated.event(said, kinds, self.evidence)
                yield Claim(
                    "event", denied(held.truth, said.is_not), f"event: said {said.text}, tables hold {held.words}"
                )

    def _all_events(self) -> Iterator[Claim]:
        """Whether an answer to "what is happening" names all that happens."""
        said = {token.value for token in self.answer.tokens if token.kind == "event"} - {"nothing"}
        held = {value for kind, value, _ in self.evidence.truth if kind == "event"}
        if self.evidence.has_truth and self.answer.has("event") and not self.tolerance.has_hidden:
            reason = f"event: said {', '.join(sorted(said)) or 'none'}, tables hold {', '.join(sorted(held)) or 'none'}"
            yield Claim("event", said == held, reason)

    def _ego(self, said: list[Said]) -> Iterator[Claim]:
        is_advice = any(text.has("should") or text.has("dangerous") for text in (self.question, self.answer))
        is_behavior = "behavior" in self.question.asks or self.pair.category == "behavior"
        for one in said:
            kind = one.kind
            if is_behavior and kind == "status" and one.value == "not moving":
                kind = "pace"
            if is_advice and kind == "move":
                kind = "advice"
            if kind == "clear":
                yield self._clear(one)
            elif kind == "event":
                yield from self._events(None, [one])
            elif kind in EGO_JUDGES:
                held = EGO_JUDGES[kind](one, self.evidence, self.tolerance)
                name = EGO_NAMES.get(kind, kind)
                reason = f"{name}: said {'not ' * one.is_not}{one.text}, tables hold {held.words}"
                yield Claim(name, denied(held.truth, one.is_not), reason)

    def _clear(self, said: Said) -> Claim:
        """Whether nothing that is seen is in the way."""
        in_way = Said("path", "now", False, "in the way")
        things = [thing for thing in self.evidence.seen if thing.range_m <= CLEAR_M]
        truth = either(states.path(in_way, thing, self.evidence, self.tolerance).truth for thing in things)
        return Claim(
            "path", denied(truth, not said.is_not), f"path: said {said.text}, tables hold something in the way"
        )

    def _scene(self, text: Text) -> Iterator[Claim]:
        of_phrases = (said for phrase in text.phrases for said in (*phrase.said, *phrase.limits))
        for said in (*text.loose, *text.ego, *of_phrases):
            if said.kind in SCENE_JUDGES:
                held = SCENE_JUDGES[said.kind](said, self.evidence, self.tolerance)
                reason = f"{said.kind}: said {'not ' * said.is_not}{said.text}, tables hold {held.words}"
                yield Claim(said.kind, denied(held.truth, said.is_not), reason)
