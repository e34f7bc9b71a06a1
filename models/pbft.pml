/* The agreement protocol of kumiai.consensus.pbft, small enough that spin visits every state.

   What an honest replica may sign is written as in src/kumiai/consensus/pbft/safety.py; each rule
   below names the function there that it stands for. What is modelled, what is not, and the
   numbers: docs/adr/0031-model-of-the-order.md. All checks: `make model`. One by hand:

       spin -DVIEWS=3 -DTRAITOR=0 -a pbft.pml && cc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan

   Messages. What was signed is a fact that stays: arrays of bits that only grow. Nobody is sent
   anything; a rule may read any fact that is there, or leave it. So every delay, loss, doubling and
   order of arrival is among the runs, and so is every set of receivers that a traitor chooses.

   The traitor. One replica, TRAITOR, has no process. Its votes, for every digest in every view and
   place, are facts from the beginning, and so are its proposals where it leads: whoever reads them
   may take what it likes. Its VIEW-CHANGEs show any proof that can be made of signatures that
   are there, or none; its NEW-VIEWs show any quorum of VIEW-CHANGEs, another one to each replica.
   It cannot forge others' signatures. That it signs everything at once is more than any one traitor
   does: what holds against it holds against all of them.

   Crashes. A crash after which a replica still knows what it remembers here changes nothing: it is a
   step that does nothing, and is left out. That takes a journal which keeps `bound` too: see
   LOSES_NEW_VIEW. */

#ifndef N
#define N 4                                  /* replicas; 4 or 5, so f = 1 */
#endif
#ifndef VIEWS
#define VIEWS 2                              /* views 0 to VIEWS - 1; 2 to 4 */
#endif
#ifndef PLACES
#define PLACES 1                             /* sequence numbers; 1 or 2 */
#endif
#ifndef TRAITOR
#define TRAITOR 0                            /* replica r leads the views v with v % N == r */
#endif
#ifndef QUORUM
#define QUORUM ((N + (N - 1) / 3) / 2 + 1)   /* consensus/quorum.py: compute_quorum */
#endif

/* Digests. NONE: nothing, and where a NEW-VIEW is meant: nothing proposed, the place is free. */
#define NONE 0
#define A 1
#define B 2
#define NULL_BATCH 3                         /* views.py: NULL_DIGEST */

#define BIT(x) (1 << (x))
#define AT(v, s) ((v) * PLACES + (s))
#define ON(v, s, d) (AT(v, s) * 4 + (d))
#define OF(r, s) ((r) * PLACES + (s))
#define LEADER(v) ((v) % N)
/* How many of the five lowest bits are set: copies of m, six apart, put bit i at 7 * i, and 2^7 is 1
   modulo 127. It names m once: the compiler's time. */
#define COUNT(m) ((((m) * 17043521) & 270549121) % 127)

/* ---- what was signed: facts, which only grow ---- */

byte proposals[VIEWS * PLACES];              /* PRE-PREPARE: bits of digests, by the view's leader */
byte prepares[VIEWS * PLACES * 4];           /* PREPARE: bits of senders */
byte commits[VIEWS * PLACES * 4];            /* COMMIT: bits of senders */
byte changes[VIEWS];                         /* VIEW-CHANGE: bits of senders */
byte shown_view[VIEWS * N * PLACES];         /* the proof in it: its view + 1, 0 for no proof */
byte shown[VIEWS * N * PLACES];              /* and its digest */
byte opened[VIEWS * PLACES];                 /* NEW-VIEW: bits of what those begun with propose */

/* ---- what an honest replica remembers: safety.py, class Safety ---- */

byte view[N];
bool is_changing[N];
byte proposed_view[N * PLACES], proposed[N * PLACES];    /* votes["pre-prepare", place] */
byte prepared_view[N * PLACES], prepared[N * PLACES];    /* votes["prepare", place] */
byte committed_view[N * PLACES], committed[N * PLACES];  /* votes["commit", place] */
byte kept_view[N * PLACES], kept[N * PLACES];            /* prepared[place]: view + 1 and digest */
byte bound[N * PLACES];                      /* what the NEW-VIEW of its view proposes there */

/* ---- what is checked ---- */

bool two_digests_decided, voted_twice, decision_lost;

/* has an honest replica signed A here? see NAMED */
bool is_named[PLACES];

/* room for one step; 0 between steps */
byte i, u, taken, highest, best_view[PLACES], best[PLACES];

/* ---- proofs.py ---- */

/* is_prepared: the leader's proposal and q - 1 prepares of others, in one view */
#ifdef PRIMARY_PREPARES
#define BACKUPS(v, s, d) (prepares[ON(v, s, d)])
#else
#define BACKUPS(v, s, d) (prepares[ON(v, s, d)] & ~BIT(LEADER(v)))
#endif
#define IS_PREPARED(v, s, d) \
    ((proposals[AT(v, s)] & BIT(d)) && COUNT(BACKUPS(v, s, d)) >= QUORUM - 1)

/* is_decided: q commits in one view */
#define IS_DECIDED(v, s, d) (COUNT(commits[ON(v, s, d)]) >= QUORUM)

/* ---- the three properties; looked at after every step ---- */

#if VIEWS > 2
#define DECIDED_2(s, d) || IS_DECIDED(2, s, d)
#define LATER_2(s, d) || (IS_DECIDED(0, s, d) && LOSES(2, s, d)) || (IS_DECIDED(1, s, d) && LOSES(2, s, d))
#else
#define DECIDED_2(s, d)
#define LATER_2(s, d)
#endif
#if VIEWS > 3
#define DECIDED_3(s, d) || IS_DECIDED(3, s, d)
#define LATER_3(s, d) || \
    ((IS_DECIDED(0, s, d) || IS_DECIDED(1, s, d) || IS_DECIDED(2, s, d)) && LOSES(3, s, d))
#else
#define DECIDED_3(s, d)
#define LATER_3(s, d)
#endif

/* 1. agreement: no two digests have a quorum's commits at one place, in whatever views */
#define DECIDED(s, d) (IS_DECIDED(0, s, d) || IS_DECIDED(1, s, d) DECIDED_2(s, d) DECIDED_3(s, d))
#define DISAGREES(s) ((DECIDED(s, A) && DECIDED(s, B)) || \
    (DECIDED(s, NULL_BATCH) && (DECIDED(s, A) || DECIDED(s, B))))

/* 2. one vote a view and place: no honest sender under two digests */
#define BOTH(votes, v, s) (((votes[ON(v, s, A)] & votes[ON(v, s, B)]) | \
    (votes[ON(v, s, NULL_BATCH)] & (votes[ON(v, s, A)] | votes[ON(v, s, B)]))) & ~BIT(TRAITOR))
#define TWICE(v, s) (BOTH(prepares, v, s) || BOTH(commits, v, s) || \
    (LEADER(v) != TRAITOR && COUNT(proposals[AT(v, s)] >> 1) > 1))

/* 3. what is decided, before or after, is what every later NEW-VIEW that was begun proposes */
#define LOSES(v, s, d) (opened[AT(v, s)] & ~BIT(d))
#define LOST(s, d) ((IS_DECIDED(0, s, d) && LOSES(1, s, d)) LATER_2(s, d) LATER_3(s, d))

inline check(v, s) {
    two_digests_decided = DISAGREES(s);
#ifndef ONLY_AGREEMENT
    voted_twice = TWICE(v, s);
    decision_lost = LOST(s, A) || LOST(s, B) || LOST(s, NULL_BATCH);
#endif
    assert(!two_digests_decided);
    assert(!voted_twice);
    assert(!decision_lost);
}

/* ---- cuts: runs that cannot show more than others which are kept (the ADR says why) ---- */

#ifdef UNCUT
#define NAMED(s, d) true
#define MAY_LEAVE(v) ((v) > view[r])
#define MAY_BEGIN(v) ((v) > view[r] || ((v) == view[r] && is_changing[r]))
#define IDLE true
#else
/* A and B are two names: the one that comes first at a place is called A. */
#define NAMED(s, d) ((d) != B || is_named[s])
/* Who skips a view, or begins one without having changed to it, signs less than who did not. */
#define MAY_LEAVE(v) ((v) == view[r] + 1)
#define MAY_BEGIN(v) ((v) == view[r] && is_changing[r])
/* Where only one digest can ever be accepted, accepting it at once takes nothing from anybody, and
   so does beginning an honest leader's view: all else waits for these two. */
#define HAS_ONE(r, s) (bound[OF(r, s)] != NONE || \
    (LEADER(view[r]) != TRAITOR && proposals[AT(view[r], s)]))
#define HAS_ACCEPTED(r, s) (prepared[OF(r, s)] != NONE && prepared_view[OF(r, s)] == view[r])
#define IS_URGENT(r) (r != TRAITOR && LEADER(view[r]) != r && (is_changing[r] -> \
    (LEADER(view[r]) != TRAITOR && opened[AT(view[r], 0)]) : \
    ((HAS_ONE(r, 0) && !HAS_ACCEPTED(r, 0)) || \
     (HAS_ONE(r, PLACES - 1) && !HAS_ACCEPTED(r, PLACES - 1)))))
#if N > 4
#define IS_URGENT_4 IS_URGENT(4)
#else
#define IS_URGENT_4 false
#endif
#define IDLE !(IS_URGENT(0) || IS_URGENT(1) || IS_URGENT(2) || IS_URGENT(3) || IS_URGENT_4)
#endif

/* ---- safety.py: what may be signed ---- */

/* _vote: in the view that is open, one digest in a phase at a place. (Where it returns (), the same
   vote again, nothing changes.) */
#ifndef VOTES_IN_LEFT_VIEW
#define MAY_VOTE(phase, v, s) ((v) == view[r] && !is_changing[r] && \
    !(phase[OF(r, s)] != NONE && phase##_view[OF(r, s)] == (v)))
#else
#define MAY_VOTE(phase, v, s) ((v) <= view[r] && !HAS_SIGNED_##phase(v, s))
#define HAS_SIGNED_proposed(v, s) (proposals[AT(v, s)] != 0)
#define HAS_SIGNED_prepared(v, s) HAS_SIGNED(prepares, v, s)
#define HAS_SIGNED_committed(v, s) HAS_SIGNED(commits, v, s)
#define HAS_SIGNED(votes, v, s) \
    ((votes[ON(v, s, A)] | votes[ON(v, s, B)] | votes[ON(v, s, NULL_BATCH)]) & BIT(r))
#endif
#define REMEMBER(phase, v, s, d) phase[OF(r, s)] = d; phase##_view[OF(r, s)] = v
#define NAME(s, d) is_named[s] = is_named[s] || (d) == A

/* vote_pre_prepare: only by the primary of the view that is open. (ordering.py, _propose: places
   that the NEW-VIEW fills are voted for already, in open_view below.) */
#define PROPOSE(v, s, d) \
    :: d_step { IDLE && LEADER(v) == r && MAY_VOTE(proposed, v, s) && NAMED(s, d) -> \
        printf("replica %d PRE-PREPARE view %d place %d digest %d\n", r, v, s, d); \
        REMEMBER(proposed, v, s, d); NAME(s, d); \
        proposals[AT(v, s)] = proposals[AT(v, s)] | BIT(d); \
        check(v, s) }

/* vote_prepare: the primary's proposal, only by others than itself. (changing.py, _begin: what the
   NEW-VIEW proposes comes first, and slots.py, add, takes no second proposal of a view.) */
#ifdef PRIMARY_PREPARES
#define IS_BACKUP(v) true
#else
#define IS_BACKUP(v) (LEADER(v) != r)
#endif
#define PREPARE(v, s, d) \
    :: d_step { IS_BACKUP(v) && (proposals[AT(v, s)] & BIT(d)) && MAY_VOTE(prepared, v, s) && \
        (bound[OF(r, s)] == NONE || bound[OF(r, s)] == d) && NAMED(s, d) -> \
        printf("replica %d PREPARE view %d place %d digest %d\n", r, v, s, d); \
        REMEMBER(prepared, v, s, d); NAME(s, d); \
        prepares[ON(v, s, d)] = prepares[ON(v, s, d)] | BIT(r); \
        check(v, s) }

/* vote_commit: only with the proof, which is kept unless one of a later view is. */
#ifdef COMMITS_WITHOUT_PROOF
#define HAS_PROOF(v, s, d) (proposals[AT(v, s)] & BIT(d))
#else
#define HAS_PROOF(v, s, d) IS_PREPARED(v, s, d)
#endif
#define COMMIT(v, s, d) \
    :: d_step { IDLE && HAS_PROOF(v, s, d) && MAY_VOTE(committed, v, s) -> \
        printf("replica %d COMMIT view %d place %d digest %d\n", r, v, s, d); \
        REMEMBER(committed, v, s, d); \
        if \
        :: IS_PREPARED(v, s, d) && kept_view[OF(r, s)] < (v) + 1 -> \
            kept_view[OF(r, s)] = (v) + 1; kept[OF(r, s)] = d \
        :: else \
        fi; \
        commits[ON(v, s, d)] = commits[ON(v, s, d)] | BIT(r); \
        check(v, s) }

/* leave_view: for a later view. (changing.py, _leave: the VIEW-CHANGE shows list_prepared.) */
#define LEAVE(v) \
    :: d_step { IDLE && MAY_LEAVE(v) -> \
        printf("replica %d VIEW-CHANGE to view %d, shows %d of view %d\n", \
            r, v, kept[OF(r, 0)], kept_view[OF(r, 0)] - 1); \
        view[r] = v; is_changing[r] = true; \
        changes[v] = changes[v] | BIT(r); \
        i = 0; \
        do \
        :: i < PLACES -> show_proof(v); bound[OF(r, i)] = NONE; i++ \
        :: else -> break \
        od; \
        i = 0 }

inline show_proof(v) {
#ifndef HIDES_PROOFS
    shown_view[OF((v) * N + r, i)] = kept_view[OF(r, i)];
    shown[OF((v) * N + r, i)] = kept[OF(r, i)]
#else
    skip
#endif
}

/* ---- views.py: what a NEW-VIEW proposes ---- */

/* compute_proposals: of the proofs seen so far, the one of the highest view */
inline improve(s, v, d) {
#ifdef FORGETS_PROOFS
    skip
#else
    if
#ifdef TAKES_FIRST_PROOF
    :: (v) > 0 && (best_view[s] == 0 || (v) < best_view[s]) -> best_view[s] = v; best[s] = d
#else
    :: (v) > best_view[s] -> best_view[s] = v; best[s] = d
#endif
    :: else
    fi
#endif
}

/* The traitor's VIEW-CHANGE to view v: at a place, any proof of an earlier view, or none. */
inline improve_any(s, v) {
    u = 0;
    do
    :: u < v ->
        if
        :: true
        :: IS_PREPARED(u, s, A) -> improve(s, u + 1, A)
        :: IS_PREPARED(u, s, B) -> improve(s, u + 1, B)
        :: IS_PREPARED(u, s, NULL_BATCH) -> improve(s, u + 1, NULL_BATCH)
        fi;
        u++
    :: else -> break
    od;
    u = 0
}

/* find_new_view_flaw: it shows QUORUM replicas, each once. Any such set may be drawn; where the
   drawing ends with too few, taken stays below QUORUM and the step comes to nothing. */
inline gather(v) {
    i = 0;
    do
    :: i < N && taken < QUORUM && (changes[v] & BIT(i)) ->
        taken++;
        if
        :: i == TRAITOR -> improve_any(0, v); improve_any(PLACES - 1, v)
        :: else ->
            improve(0, shown_view[OF((v) * N + i, 0)], shown[OF((v) * N + i, 0)]);
            improve(PLACES - 1, shown_view[OF((v) * N + i, PLACES - 1)], shown[OF((v) * N + i, PLACES - 1)])
        fi;
        i++
    :: i < N -> i++
    :: i == N -> break
    od;
    i = 0
}

/* compute_proposals: up to the highest place prepared, the null batch where nothing was. With one
   place, another one above it may or may not have been prepared: both are tried. */
inline fill_gaps() {
    highest = 0;
#if PLACES == 1
    if
    :: best[0] == NONE -> best[0] = NULL_BATCH
    :: true
    fi
#else
    if
    :: best[0] == NONE && best[PLACES - 1] != NONE -> best[0] = NULL_BATCH
    :: else
    fi
#endif
}

inline clear() {
    d_step {
        taken = 0;
        i = 0;
        do
        :: i < PLACES -> best[i] = NONE; best_view[i] = 0; i++
        :: else -> break
        od;
        i = 0
    }
}

/* begin_view: a later view, or the one this replica has changed to: MAY_BEGIN. */
#define BEGIN(v) view[r] = v; is_changing[r] = false

/* changing.py, _open_view: the primary that has changed to its view signs what follows. */
#define OPEN_VIEW(v) \
    :: atomic { IDLE && LEADER(v) == r && (v) == view[r] && is_changing[r] && \
            COUNT(changes[v]) >= QUORUM -> \
        gather(v); \
        if \
        :: taken == QUORUM -> fill_gaps(); open_as_leader(v) \
        :: else \
        fi; \
        clear() }

inline open_as_leader(v) {
    d_step {
        BEGIN(v);
        i = 0;
        do
        :: i < PLACES ->
            printf("replica %d NEW-VIEW %d place %d proposes %d\n", r, v, i, best[i]);
            opened[AT(v, i)] = opened[AT(v, i)] | BIT(best[i]);
            if
            :: best[i] != NONE ->
                REMEMBER(proposed, v, i, best[i]);
                proposals[AT(v, i)] = proposals[AT(v, i)] | BIT(best[i])
            :: else
            fi;
            check(v, i);
            i++
        :: else -> break
        od;
        i = 0
    }
}

/* replica.py, _on_new_view: an honest leader's NEW-VIEW ... */
#define ENTER_VIEW(v) \
    :: d_step { LEADER(v) != TRAITOR && LEADER(v) != r && MAY_BEGIN(v) && opened[AT(v, 0)] -> \
        printf("replica %d begins view %d\n", r, v); \
        BEGIN(v); \
        i = 0; \
        do \
        :: i < PLACES -> bound[OF(r, i)] = ((opened[AT(v, i)] & BIT(A)) -> A : \
            ((opened[AT(v, i)] & BIT(B)) -> B : \
            ((opened[AT(v, i)] & BIT(NULL_BATCH)) -> NULL_BATCH : NONE))); i++ \
        :: else -> break \
        od; \
        i = 0 }

/* ... and a traitor's: any that holds, another one for each replica. */
#define BELIEVE_VIEW(v) \
    :: atomic { IDLE && LEADER(v) == TRAITOR && MAY_BEGIN(v) && COUNT(changes[v]) >= QUORUM -> \
        gather(v); \
        if \
        :: taken == QUORUM -> fill_gaps(); begin_as_backup(v) \
        :: else \
        fi; \
        clear() }

inline begin_as_backup(v) {
    d_step {
        BEGIN(v);
        i = 0;
        do
        :: i < PLACES ->
            printf("replica %d begins view %d: place %d proposes %d\n", r, v, i, best[i]);
            opened[AT(v, i)] = opened[AT(v, i)] | BIT(best[i]);
            bound[OF(r, i)] = best[i];
            check(v, i);
            i++
        :: else -> break
        od;
        i = 0
    }
}

/* ---- replicas that break their promise after a crash ---- */

#ifdef LOSES_JOURNAL
bool has_lost;
#define CRASH \
    :: d_step { !has_lost -> \
        printf("replica %d comes back without its journal\n", r); \
        has_lost = true; view[r] = 0; is_changing[r] = false; \
        i = 0; \
        do \
        :: i < PLACES -> \
            proposed[OF(r, i)] = NONE; prepared[OF(r, i)] = NONE; committed[OF(r, i)] = NONE; \
            proposed_view[OF(r, i)] = 0; prepared_view[OF(r, i)] = 0; \
            committed_view[OF(r, i)] = 0; \
            kept_view[OF(r, i)] = 0; kept[OF(r, i)] = NONE; bound[OF(r, i)] = NONE; \
            i++ \
        :: else -> break \
        od; \
        i = 0 }
#else
#ifdef LOSES_NEW_VIEW
#define CRASH \
    :: d_step { bound[OF(r, 0)] != NONE || bound[OF(r, PLACES - 1)] != NONE -> \
        printf("replica %d comes back without what its NEW-VIEW proposes\n", r); \
        bound[OF(r, 0)] = NONE; bound[OF(r, PLACES - 1)] = NONE }
#else
#define CRASH
#endif
#endif

/* ---- an honest replica ---- */

/* A new proposal is A or B, by an honest primary; the null batch comes of NEW-VIEWs and traitors. */
#define VOTES(v, s) \
    PROPOSE(v, s, A) PROPOSE(v, s, B) \
    PREPARE(v, s, A) PREPARE(v, s, B) PREPARE(v, s, NULL_BATCH) \
    COMMIT(v, s, A) COMMIT(v, s, B) COMMIT(v, s, NULL_BATCH)
#if PLACES == 1
#define PLACES_OF(v) VOTES(v, 0)
#else
#define PLACES_OF(v) VOTES(v, 0) VOTES(v, 1)
#endif
#define VIEW_OF(v) PLACES_OF(v) LEAVE(v) OPEN_VIEW(v) ENTER_VIEW(v) BELIEVE_VIEW(v)

proctype Replica(byte r) {
end:
    do
    PLACES_OF(0)
    VIEW_OF(1)
#if VIEWS > 2
    VIEW_OF(2)
#endif
#if VIEWS > 3
    VIEW_OF(3)
#endif
    CRASH
    od
}

/* All that the traitor may say is said from the beginning. */
init {
    atomic {
        u = 0;
        do
        :: u < VIEWS ->
            changes[u] = BIT(TRAITOR);
            i = 0;
            do
            :: i < PLACES * 4 ->
                prepares[u * PLACES * 4 + i] = BIT(TRAITOR);
                commits[u * PLACES * 4 + i] = BIT(TRAITOR);
                i++
            :: else -> break
            od;
            i = 0;
            do
            :: i < PLACES && LEADER(u) == TRAITOR ->
                proposals[AT(u, i)] = BIT(A) | BIT(B) | BIT(NULL_BATCH); i++
            :: else -> break
            od;
            u++
        :: else -> break
        od;
        u = 0; i = 0;
        do
        :: i < N && i != TRAITOR -> run Replica(i); i++
        :: i < N && i == TRAITOR -> i++
        :: else -> break
        od;
        i = 0
    }
}
