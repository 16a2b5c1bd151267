/*
 * Participants in one thread, around the state machine without IO: their sockets are libcurl's multi interface, their clock is
 * the system's, and jobs run a millisecond at a time in between.
 *
 *     cc -std=c11 round.c -lpet -lcurl -o round
 *     ./round http://127.0.0.1:8081 10
 *
 * Each participant trains by going half of the way from the global model to its own number. The program ends when there is
 * a global model, and prints it.
 */
#define _POSIX_C_SOURCE 200809L
#include <curl/curl.h>
#include <pet.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A request on its way, and what has come of its answer. */
struct transfer {
    struct site *site;
    uint64_t id;
    CURL *easy;
    struct curl_slist *headers;
    pet_output *output; /* what the request points to */
    unsigned char *body;
    size_t length, most;
    uint64_t answer_by_ms; /* when its answer must have begun */
    int has_begun, has_no_memory;
    char retry_after[32];
    char error[CURL_ERROR_SIZE];
    struct transfer *next;
};

/* A job on its way. */
struct work {
    pet_job *job;
    struct work *next;
};

/* A participant, and what is due for it. */
struct site {
    int number;
    pet_participant *participant;
    struct transfer *transfers;
    struct work *works; /* there may be several at a time */
    uint64_t wake_at_ms, fetch_at_ms;
    size_t length;  /* of the round's models */
    int is_trained; /* for this round */
};

static const char *url;
static CURLM *multi;
static int is_finished;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, pet_error_text());
    exit(1);
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void tell(struct site *site, const pet_input *input) {
    pet_status status = pet_participant_handle_input(site->participant, now_ms(), input);
    /* An answer that nobody waits for any more is nothing to worry about. */
    if (status != PET_OK && status != PET_ERROR_LATE) fail("pet_participant_handle_input");
}

static size_t receive(char *data, size_t size, size_t count, void *user) {
    struct transfer *transfer = user;
    size_t more = size * count;
    if (more > transfer->most - transfer->length) return 0; /* ends the transfer */
    unsigned char *body = realloc(transfer->body, transfer->length + more);
    transfer->has_no_memory = body == NULL;
    if (body == NULL) return 0;
    memcpy(body + transfer->length, data, more);
    transfer->body = body;
    transfer->length += more;
    return more;
}

static size_t receive_header(char *line, size_t size, size_t count, void *user) {
    struct transfer *transfer = user;
    static const char name[] = "retry-after:";
    size_t length = size * count, i = 0;
    transfer->has_begun = 1;
    while (i < length && i < sizeof name - 1 && (line[i] | 0x20) == (name[i] | 0x20)) i++;
    if (i == sizeof name - 1) {
        size_t value = length - i < sizeof transfer->retry_after ? length - i : sizeof transfer->retry_after - 1;
        memcpy(transfer->retry_after, line + i, value);
        transfer->retry_after[value] = 0;
    }
    return length;
}

static void end_transfer(struct transfer *transfer) {
    struct transfer **link = &transfer->site->transfers;
    while (*link != transfer) link = &(*link)->next;
    *link = transfer->next;
    curl_multi_remove_handle(multi, transfer->easy);
    curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    pet_output_free(transfer->output);
    free(transfer->body);
    free(transfer);
}

static void append(struct curl_slist **list, const char *line) {
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL) exit(1);
    *list = longer;
}

static void begin_transfer(struct site *site, pet_output *output) {
    pet_request request;
    if (pet_output_request(output, &request) != PET_OK) fail("pet_output_request");
    struct transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL || (transfer->easy = curl_easy_init()) == NULL) exit(1);
    transfer->site = site;
    transfer->id = request.id;
    transfer->output = output;
    transfer->most = request.max_answer < SIZE_MAX ? (size_t)request.max_answer : SIZE_MAX;
    transfer->next = site->transfers;
    site->transfers = transfer;

    char address[2048], header[512];
    if ((size_t)snprintf(address, sizeof address, "%s%s", url, request.target) >= sizeof address) exit(1);
    for (size_t i = 0; i < request.header_count; i++) {
        const pet_header *each = &request.headers[i];
        if ((size_t)snprintf(header, sizeof header, "%s: %s", each->name, each->value) >= sizeof header) exit(1);
        append(&transfer->headers, header);
    }
    /* A long message is sent at once, without asking whether it may come. */
    append(&transfer->headers, "Expect:");
    transfer->answer_by_ms = now_ms() + request.answer_ms;
    CURL *easy = transfer->easy;
    curl_easy_setopt(easy, CURLOPT_URL, address);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request.total_ms);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, receive_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (strcmp(request.method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request.body_length);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, (const char *)request.body);
    }
    if (curl_multi_add_handle(multi, easy) != CURLM_OK) exit(1);
}

/* Goes half of the way from the global model to this site's number. */
static void train(struct site *site, const pet_weights *global) {
    size_t length = site->length;
    float *weights = calloc(length, sizeof *weights);
    if (weights == NULL) exit(1);
    const float *before = global->data_type == PET_DATA_TYPE_F32 ? global->data : NULL;
    for (size_t i = 0; i < length; i++) {
        float from = before != NULL && i < global->length ? before[i] : 0;
        weights[i] = (from + (float)site->number / 10) / 2;
    }
    pet_input input = {.kind = PET_INPUT_SET_MODEL};
    input.weights = (pet_weights){.data = weights, .length = length, .data_type = PET_DATA_TYPE_F32};
    tell(site, &input);
    free(weights);
    site->is_trained = 1;
}

static void hear(struct site *site, const pet_event *event) {
    fprintf(stderr, "%d: %s\n", site->number, event->text);
    pet_input fetch = {.kind = PET_INPUT_FETCH_MODEL};
    switch (event->kind) {
    case PET_EVENT_NEW_ROUND:
        site->is_trained = 0;
        site->length = (size_t)event->length;
        tell(site, &fetch);
        break;
    case PET_EVENT_GLOBAL_MODEL_FAILED:
        site->fetch_at_ms = now_ms() + 5000; /* not at once: it may be down */
        break;
    case PET_EVENT_GLOBAL_MODEL:
        if (event->model.data != NULL && event->model.data_type == PET_DATA_TYPE_F32 && !is_finished) {
            const float *weights = event->model.data;
            printf("global model:");
            for (size_t i = 0; i < event->model.length && i < 4; i++) printf(" %.6f", (double)weights[i]);
            printf("\n");
            is_finished = 1;
        }
        if (!site->is_trained) train(site, &event->model);
        break;
    default:
        break;
    }
}

/* Does what the machine says until it is idle. */
static void drain(struct site *site) {
    for (;;) {
        pet_output *output;
        if (pet_participant_poll_output(site->participant, &output) != PET_OK) fail("pet_participant_poll_output");
        pet_output_kind kind = pet_output_kind_of(output);
        pet_idle idle;
        pet_event event;
        uint64_t id;
        switch (kind) {
        case PET_OUTPUT_REQUEST:
            begin_transfer(site, output);
            continue; /* it is freed with the transfer */
        case PET_OUTPUT_CANCEL:
            if (pet_output_cancelled(output, &id) != PET_OK) fail("pet_output_cancelled");
            for (struct transfer *each = site->transfers; each != NULL; each = each->next)
                if (each->id == id) {
                    end_transfer(each);
                    break;
                }
            break;
        case PET_OUTPUT_JOB: {
            struct work *work = calloc(1, sizeof *work);
            if (work == NULL) exit(1);
            if (pet_output_take_job(output, &work->job) != PET_OK) fail("pet_output_take_job");
            work->next = site->works;
            site->works = work;
            break;
        }
        case PET_OUTPUT_EVENT:
            if (pet_output_event(output, &event) != PET_OK) fail("pet_output_event");
            hear(site, &event);
            break;
        case PET_OUTPUT_IDLE:
            if (pet_output_idle(output, &idle) != PET_OK) fail("pet_output_idle");
            site->wake_at_ms = idle.wake_at_ms;
            pet_output_free(output);
            return;
        default:
            break;
        }
        pet_output_free(output);
    }
}

static void take_answers(void) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode result = message->data.result;
        char *private;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        struct transfer *transfer = (void *)private;
        struct site *site = transfer->site;
        pet_input input = {.kind = PET_INPUT_RESPONSE, .id = transfer->id};
        char *content_type = NULL;
        long status = 0;
        if (result == CURLE_OK) {
            curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
            curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &content_type);
            input.status = (uint16_t)status;
            input.body = transfer->body;
            input.body_length = transfer->length;
            input.content_type = content_type;
            input.retry_after = transfer->retry_after[0] != 0 ? transfer->retry_after : NULL;
        } else {
            input.kind = PET_INPUT_FAULT;
            input.fault = result == CURLE_OPERATION_TIMEDOUT ? PET_FAULT_TIMED_OUT
                          : result == CURLE_WRITE_ERROR && !transfer->has_no_memory
                              ? PET_FAULT_TOO_LARGE
                              : PET_FAULT_UNREACHABLE;
            input.text = transfer->error[0] != 0 ? transfer->error : curl_easy_strerror(result);
        }
        tell(site, &input);
        end_transfer(transfer);
        drain(site);
    }
}

/* Answers that have not begun in time. */
static void time_out(struct site *site, uint64_t now) {
    for (struct transfer *each = site->transfers, *next; each != NULL; each = next) {
        next = each->next;
        if (each->has_begun || now < each->answer_by_ms) continue;
        pet_input input = {.kind = PET_INPUT_FAULT, .id = each->id, .fault = PET_FAULT_TIMED_OUT};
        tell(site, &input);
        end_transfer(each);
    }
}

/* A millisecond of each job. */
static void work(struct site *site) {
    for (struct work **link = &site->works; *link != NULL;) {
        struct work *each = *link;
        bool done = false;
        if (pet_job_step(each->job, &done) != PET_OK) fail("pet_job_step");
        if (!done) {
            link = &each->next;
            continue;
        }
        pet_input input = {.kind = PET_INPUT_JOB_DONE, .job = each->job}; /* the participant's now */
        *link = each->next;
        free(each);
        tell(site, &input);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s URL NUMBER-OF-PARTICIPANTS\n", argv[0]);
        return 2;
    }
    if (!pet_is_compatible(PET_HEADER_VERSION)) {
        fprintf(stderr, "libpet %s is not the one that this program was compiled for\n", pet_library_version());
        return 1;
    }
    url = argv[1];
    int count = atoi(argv[2]);
    struct site *sites = calloc((size_t)(count > 0 ? count : 1), sizeof *sites);
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    multi = curl_multi_init();
    if (sites == NULL || multi == NULL) return 1;
    for (int i = 0; i < count; i++) {
        sites[i].number = i;
        if (pet_participant_new(NULL, NULL, &sites[i].participant) != PET_OK) fail("pet_participant_new");
        pet_input patience = {.kind = PET_INPUT_PATIENCE, .milliseconds = 45000};
        tell(&sites[i], &patience);
        drain(&sites[i]);
    }
    while (!is_finished) {
        uint64_t now = now_ms(), wake_at = now + 1000;
        for (int i = 0; i < count; i++) {
            struct site *site = &sites[i];
            time_out(site, now);
            work(site);
            pet_input input = {.kind = PET_INPUT_TICK};
            if (site->fetch_at_ms != 0 && site->fetch_at_ms <= now) {
                site->fetch_at_ms = 0;
                input.kind = PET_INPUT_FETCH_MODEL;
            }
            tell(site, &input);
            drain(site);
            if (site->works != NULL) wake_at = now; /* there is more to do */
            if (site->wake_at_ms < wake_at) wake_at = site->wake_at_ms;
        }
        int running;
        curl_multi_perform(multi, &running);
        take_answers();
        now = now_ms();
        curl_multi_poll(multi, NULL, 0, wake_at > now ? (int)(wake_at - now) : 0, NULL);
    }
    for (int i = 0; i < count; i++) {
        while (sites[i].transfers != NULL) end_transfer(sites[i].transfers);
        for (struct work *each = sites[i].works, *next; each != NULL; each = next) {
            next = each->next;
            pet_job_free(each->job);
            free(each);
        }
        pet_participant_free(sites[i].participant);
    }
    free(sites);
    curl_multi_cleanup(multi);
    curl_global_cleanup();
    return 0;
}
