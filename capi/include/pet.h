/*
 * pet.h: participants in the PET protocol for privacy-preserving federated learning.
 *
 * Two levels:
 *
 *   pet_participant_*  the state machine without IO. It is told what happened (pet_participant_handle_input) and says what
 *                      should happen next (pet_participant_poll_output). Sockets, threads and clocks are yours: see
 *                      examples/round.c, which has libcurl's multi interface around it.
 *   pet_driver_*       a running participant: a thread of its own, HTTP, a state file. See examples/driver.c.
 *
 * What holds for all functions:
 *
 *   Versions    Ask pet_is_compatible(PET_HEADER_VERSION) before anything else.
 *   Errors      Most functions answer with a pet_status. If it is not PET_OK nothing was written, and pet_error_text() says why, and
 *               what to do about it, until this thread's next call. No panic and no exception crosses this border.
 *   Ownership   What *_new, *_start, *_restore, *_save, *_poll_output, *_take_job and *_fetch_model give is yours, and freed
 *               with the pet_*_free of its type, which takes null pointers, too. What else you get points into something that
 *               you have, and is there as long as that. What you give is copied, but for a finished job: that is handed
 *               over, unless the answer is PET_ERROR_ARGUMENT.
 *   Threads     pet_participant and pet_driver may be used by any thread, several at once; all else by any thread, but one at
 *               a time. Nothing may be used while it is freed, or afterwards. The thread of a pet_driver that was freed may
 *               still be ending its last request: do not unload the library.
 *   Forks       A pet_driver belongs to the process that started it: fork first. A pet_participant has no thread.
 *   Texts       are UTF-8, and end with a zero byte.
 *
 * This file is made of the library's source code: change it there.
 */


#ifndef PET_H
#define PET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The version of this interface. The first number grows when programs have to be compiled anew, the second when something is
// added.
#define PET_HEADER_VERSION (1 << 16)

// How many bytes a public key has.
#define PET_KEY_LENGTH 32

// How many bytes a seed has.
#define PET_SEED_LENGTH 32

// What became of a call. If it is not `PET_OK`, `pet_error_text` says what to do.
enum pet_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // It is done.
    PET_OK = 0,
    // The call is wrong: a pointer is null, a text is not UTF-8, a number is out of its range. The program has to be mended.
    PET_ERROR_ARGUMENT = 1,
    // The answer, or the job, is not waited for any more. Nothing is wrong: it just came late.
    PET_ERROR_LATE = 2,
    // The local model cannot be used.
    PET_ERROR_MODEL = 3,
    // The saved state cannot be used.
    PET_ERROR_STATE = 4,
    // The participant was stopped.
    PET_ERROR_STOPPED = 5,
    // A setting, the URL or a certificate cannot be used.
    PET_ERROR_CONFIG = 6,
    // The operating system refuses something: randomness, a thread, a file.
    PET_ERROR_SYSTEM = 7,
    // It did not happen in time.
    PET_ERROR_TIMEOUT = 8,
    // The coordinator cannot be asked, or gives a wrong answer: try again later.
    PET_ERROR_COORDINATOR = 9,
    // There is a mistake in this library: please report it. What the call was for is of no use any more; free it.
    PET_ERROR_BUG = 10,
    // This process was forked from the one that the participant was started in, where its thread is.
    PET_ERROR_FORKED = 11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_status pet_status;
#else
typedef int32_t pet_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What should happen next, and which function tells more of it.
enum pet_output_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Nothing until the next input: `pet_output_idle`. Poll no more before that.
    PET_OUTPUT_IDLE = 0,
    // Send a request, and tell its answer or the lack of one: `pet_output_request`.
    PET_OUTPUT_REQUEST = 1,
    // The answer to a request is not waited for any more, and it can be dropped: `pet_output_cancelled`.
    PET_OUTPUT_CANCEL = 2,
    // Run a job, on any thread, and hand it in: `pet_output_take_job`. There may be several at a time: one that is freed
    // instead is begun anew, and after a few times given up.
    PET_OUTPUT_JOB = 3,
    // Tell the user, if that is wanted: `pet_output_event`.
    PET_OUTPUT_EVENT = 4,
    // Something that this version of the header has no name for: free it, and poll on.
    PET_OUTPUT_OTHER = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_output_kind pet_output_kind;
#else
typedef uint32_t pet_output_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What has happened. What is to be set of a `pet_input` is said of each; all else may be zero.
enum pet_input_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Time has passed, and nothing else has happened.
    PET_INPUT_TICK = 0,
    // A request was answered, with whatever status: `id`, `status`, `body`, `body_length`, and the headers `content_type` and
    // `retry_after` if the answer has them.
    PET_INPUT_RESPONSE = 1,
    // A request was not answered: `id`, `fault`, `text`.
    PET_INPUT_FAULT = 2,
    // A job is finished: `job`, which is the participant's from now on, also if it is not waited for any more. Only after
    // `PET_ERROR_ARGUMENT` (it is not finished, or of another participant) it is still the caller's.
    PET_INPUT_JOB_DONE = 3,
    // Set a trained model, which is sent when this participant is next chosen to update, in place of one that was not used yet:
    // `weights`, of which a copy is made. Weights of another type than the round's are converted.
    PET_INPUT_SET_MODEL = 4,
    // Fetch the global model: `PET_EVENT_GLOBAL_MODEL` or `PET_EVENT_GLOBAL_MODEL_FAILED` is the answer.
    PET_INPUT_FETCH_MODEL = 5,
    // Answers may be held back so long, in `milliseconds`: send what `pet_request` has in `headers`, wait `answer_ms` for the
    // answer, do everything else meanwhile, and take `PET_OUTPUT_CANCEL`. Then a participant that waits for news asks
    // less often.
    PET_INPUT_PATIENCE = 6,
    // Do nothing more. Save it first if it is to go on later.
    PET_INPUT_STOP = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_input_kind pet_input_kind;
#else
typedef uint32_t pet_input_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Why a request was not answered.
enum pet_fault
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // No connection could be made, or it broke: `text` says why, for people.
    PET_FAULT_UNREACHABLE = 0,
    // There was no answer in time.
    PET_FAULT_TIMED_OUT = 1,
    // The answer is longer than `max_answer` of the request.
    PET_FAULT_TOO_LARGE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_fault pet_fault;
#else
typedef uint32_t pet_fault;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a participant waits for.
enum pet_why
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The time of the next look at the coordinator.
    PET_WHY_POLL = 0,
    // A local model.
    PET_WHY_LOCAL_MODEL = 1,
    // An answer to a request.
    PET_WHY_ANSWER = 2,
    // The end of a job.
    PET_WHY_JOB = 3,
    // Nothing: it was stopped.
    PET_WHY_STOPPED = 4,
    // Something else.
    PET_WHY_OTHER = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_why pet_why;
#else
typedef uint32_t pet_why;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a user may want to know. What is set of a `pet_event`, beside its `text`, is said of each.
enum pet_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A new round has begun; there may be a new global model: `task`, `data_type`, `length`.
    PET_EVENT_NEW_ROUND = 0,
    // This participant is to update and has no local model: `data_type`, `length`. Said once a round.
    PET_EVENT_MODEL_NEEDED = 1,
    // The local model cannot be used and was dropped.
    PET_EVENT_MODEL_REJECTED = 2,
    // The local model was for the round before, and was dropped.
    PET_EVENT_MODEL_OUTDATED = 3,
    // The local model was masked.
    PET_EVENT_MODEL_MASKED = 4,
    // A part of a message was delivered: `message`, `sent` of `total`.
    PET_EVENT_PROGRESS = 5,
    // A message was delivered: `message`.
    PET_EVENT_SENT = 6,
    // The coordinator has rejected a message for good: `message`. This participant can do nothing more in this round.
    PET_EVENT_REJECTED = 7,
    // This participant can do nothing more in this round.
    PET_EVENT_GAVE_UP = 8,
    // The coordinator could not be asked, or gave a wrong answer: it is asked again later.
    PET_EVENT_TROUBLE = 9,
    // The global model, as asked for: `model`, whose `data` is null while there is none.
    PET_EVENT_GLOBAL_MODEL = 10,
    // The global model could not be fetched: ask again later.
    PET_EVENT_GLOBAL_MODEL_FAILED = 11,
    // Something that this version of the header has no name for.
    PET_EVENT_OTHER = 12,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_event_kind pet_event_kind;
#else
typedef uint32_t pet_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a participant does in a round.
enum pet_task_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Nothing.
    PET_TASK_NONE = 0,
    // It sums masks.
    PET_TASK_SUM = 1,
    // It trains, and sends a masked model.
    PET_TASK_UPDATE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_task_kind pet_task_kind;
#else
typedef uint32_t pet_task_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a message is for.
enum pet_message_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A key of one who sums.
    PET_MESSAGE_SUM = 1,
    // A masked model.
    PET_MESSAGE_UPDATE = 2,
    // A sum of masks.
    PET_MESSAGE_SUM2 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_message_kind pet_message_kind;
#else
typedef uint32_t pet_message_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The type of a model's weights.
enum pet_data_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // `float`
    PET_DATA_TYPE_F32 = 0,
    // `double`
    PET_DATA_TYPE_F64 = 1,
    // `int32_t`
    PET_DATA_TYPE_I32 = 2,
    // `int64_t`
    PET_DATA_TYPE_I64 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_data_type pet_data_type;
#else
typedef uint32_t pet_data_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What became of a local model, or of a round.
enum pet_news_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A round has begun.
    PET_NEWS_ROUND = 0,
    // The local model was masked.
    PET_NEWS_MASKED = 1,
    // It was for the round before, and was dropped.
    PET_NEWS_OUTDATED = 2,
    // It was sent.
    PET_NEWS_SENT = 3,
    // The coordinator has rejected it, as it came too late, or as there were enough: what happens in any round.
    PET_NEWS_REJECTED_LATE = 4,
    // The coordinator has rejected it for another reason.
    PET_NEWS_REJECTED = 5,
    // The participant is out of the round.
    PET_NEWS_GAVE_UP = 6,
    // A round has ended with a global model.
    PET_NEWS_ENDED = 7,
    // A round has failed.
    PET_NEWS_FAILED = 8,
    // Something that this version of the header has no name for.
    PET_NEWS_OTHER = 9,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_news_kind pet_news_kind;
#else
typedef uint32_t pet_news_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How important a notice is.
enum pet_notice_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // For those who are curious.
    PET_NOTICE_DEBUG = 0,
    // What happens in every round.
    PET_NOTICE_INFO = 1,
    // Something that somebody should do something about.
    PET_NOTICE_WARNING = 2,
    // Something that was asked for does not happen.
    PET_NOTICE_ERROR = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pet_notice_level pet_notice_level;
#else
typedef uint32_t pet_notice_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A saved state. It holds secret keys: keep it where nobody else reads it. It is wiped when it is freed.
typedef struct pet_buffer pet_buffer;

// Where the coordinator is, whom to trust, and where the state is kept.
typedef struct pet_config pet_config;

// A participant on a thread of its own, which speaks to its coordinator. Any thread may use it, several at once.
typedef struct pet_driver pet_driver;

// A piece of work that grows with the model: run it on any thread (each job on one at a time) and hand it in with
// `PET_INPUT_JOB_DONE`. One that is freed instead is noticed, and given out again if it is still needed.
typedef struct pet_job pet_job;

// A global model.
typedef struct pet_model pet_model;

// Something that should happen. It is said once: do it, and free this.
typedef struct pet_output pet_output;

// A participant without thread and network. Any thread may use it; two that do so at once wait for each other.
typedef struct pet_participant pet_participant;

// How a participant behaves: scalar 1, messages of any size, models of up to 2^28 weights, and polling as others do it, unless
// told otherwise.
typedef struct pet_settings pet_settings;

// What is known and what is due. (A round may begin meanwhile: a global model that is fetched for it may have another length.)
typedef struct pet_view {
    // Grows with everything that happens.
    uint64_t happened;
    // How many rounds have begun while this participant was there.
    uint64_t rounds;
    // How many weights the round's models have; 0 before the first contact with the coordinator.
    uint64_t length;
    // Of which type they are: a `pet_data_type`.
    uint32_t data_type;
    // What it does in this round: a `pet_task_kind`.
    uint32_t task;
    // It is to update the global model and waits for a local one.
    bool model_needed;
    // A new round has begun, and the global model was not fetched since: there may be a new one.
    bool new_global_model;
} pet_view;

// The weights of a model, in order: somebody else's array.
typedef struct pet_weights {
    // The first one.
    const void *data;
    // How many there are.
    size_t length;
    // Of which type they are: a `pet_data_type`.
    uint32_t data_type;
} pet_weights;

// What became of a local model, or of a round. Its text is there until this thread asks for the next news or notice.
typedef struct pet_news {
    // A `pet_news_kind`.
    uint32_t kind;
    // The round's number as the coordinator counts, of one that has ended or failed; otherwise 0.
    uint64_t round;
    // Why, for people; empty if there is no more to say.
    const char *text;
} pet_news;

// A line for a log. Its text is there until this thread asks for the next notice or news.
typedef struct pet_notice {
    // A `pet_notice_level`.
    uint32_t level;
    // The line.
    const char *text;
} pet_notice;

// A header of a request.
typedef struct pet_header {
    // Its name, in lower case.
    const char *name;
    // Its value.
    const char *value;
} pet_header;

// An HTTP request. Its pointers are there until the output is freed.
typedef struct pet_request {
    // To be told with the answer.
    uint64_t id;
    // `GET` or `POST`.
    const char *method;
    // Path and query, to be put behind the coordinator's URL (which has no slash at its end).
    const char *target;
    // The headers to send, beside those that any client sends.
    const struct pet_header *headers;
    // How many there are.
    size_t header_count;
    // The body to send; null if there is none.
    const uint8_t *body;
    // How many bytes it has.
    size_t body_length;
    // How long to wait for the beginning of the answer, sending included.
    uint64_t answer_ms;
    // How long all of it may take, with the answer's body.
    uint64_t total_ms;
    // The most bytes that the answer's body may have: more is `PET_FAULT_TOO_LARGE`.
    uint64_t max_answer;
} pet_request;

// Something that a user may want to know. Its pointers are there until the output is freed.
typedef struct pet_event {
    // A `pet_event_kind`.
    uint32_t kind;
    // A `pet_task_kind`.
    uint32_t task;
    // A `pet_message_kind`; 0 for none.
    uint32_t message;
    // A `pet_data_type`.
    uint32_t data_type;
    // How many weights the round's models have.
    uint64_t length;
    // How many parts are delivered.
    uint64_t sent;
    // How many there are.
    uint64_t total;
    // The global model.
    struct pet_weights model;
    // A line for people.
    const char *text;
} pet_event;

// There is nothing to do.
typedef struct pet_idle {
    // When to come back with `PET_INPUT_TICK` if nothing else happens before; `UINT64_MAX` for never.
    uint64_t wake_at_ms;
    // What it waits for: a `pet_why`.
    uint32_t why;
} pet_idle;

// Something that has happened: set all of it to zero first, as in `pet_input input = {.kind = PET_INPUT_TICK};`
typedef struct pet_input {
    // A `pet_input_kind`.
    uint32_t kind;
    // A `pet_fault`.
    uint32_t fault;
    // Of the request.
    uint64_t id;
    // For how long.
    uint64_t milliseconds;
    // The answer's body, of which a copy is made.
    const uint8_t *body;
    // How many bytes it has.
    size_t body_length;
    // The answer's header `Content-Type`, or null.
    const char *content_type;
    // The answer's header `Retry-After`, or null.
    const char *retry_after;
    // Why, for people, or null.
    const char *text;
    // The finished job.
    struct pet_job *job;
    // The trained model.
    struct pet_weights weights;
    // The answer's HTTP status.
    uint16_t status;
} pet_input;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Where its bytes are, until it is freed, and how many.
pet_status pet_buffer_bytes(const struct pet_buffer *buffer, const uint8_t **bytes, size_t *length);

// Wipes and frees it. A null pointer is nothing to free.
void pet_buffer_free(struct pet_buffer *buffer);

// For the coordinator with this URL, such as `http://127.0.0.1:8081`. Proxies and authorities are those that the environment
// names, as curl has them. `settings` may be null, and is copied.
pet_status pet_config_new(const char *url,
                          const struct pet_settings *settings,
                          struct pet_config **config);

// Frees it. A null pointer is nothing to free.
void pet_config_free(struct pet_config *config);

// How many threads a job may use: all cores, unless told otherwise.
pet_status pet_config_set_threads(struct pet_config *config, size_t threads);

// Trusts these authorities' certificates, in PEM form, and no others.
pet_status pet_config_set_authorities(struct pet_config *config, const uint8_t *pem, size_t length);

// Shows this certificate to coordinators that ask for one; it and its private key are in PEM form.
pet_status pet_config_set_identity(struct pet_config *config,
                                   const uint8_t *certificate,
                                   size_t certificate_length,
                                   const uint8_t *key,
                                   size_t key_length);

// Keeps the state in this file: what is there is gone on from, and `pet_driver_stop` puts the state there. It holds secret
// keys; give each participant a file of its own.
pet_status pet_config_set_state_file(struct pet_config *config,
                                     const char *path);

// Goes on from this state, which `pet_driver_stop` has given; a state file that is there comes first. A copy is made, and wiped
// when it is freed.
pet_status pet_config_set_state(struct pet_config *config,
                                const uint8_t *state,
                                size_t length);

// Starts a participant, and its thread. `config` is copied.
pet_status pet_driver_start(const struct pet_config *config, struct pet_driver **driver);

// Its public key: 32 bytes.
pet_status pet_driver_public_key(const struct pet_driver *driver, uint8_t *key);

// Waits until more than `happened` things have happened, at most so long, and says how things are. `PET_OK` also when the
// time is over: then `view.happened` is as before. Begin with 0, and go on with `view.happened`.
pet_status pet_driver_wait(const struct pet_driver *driver,
                           uint64_t happened,
                           uint64_t timeout_ms,
                           struct pet_view *view);

// Sets the local model: it is sent when the participant next updates; until then a later one replaces it. A copy is made.
pet_status pet_driver_set_model(const struct pet_driver *driver,
                                const struct pet_weights *weights);

// Sets the local model if the participant is still in this round (`rounds` of the view that it was trained for); otherwise
// nothing is done, and the answer is `PET_ERROR_LATE`.
pet_status pet_driver_set_model_for(const struct pet_driver *driver,
                                    uint64_t rounds,
                                    const struct pet_weights *weights);

// Fetches the global model; `model` is null while there is none. `PET_ERROR_TIMEOUT` if the coordinator does not answer in
// time, `PET_ERROR_COORDINATOR` if it cannot be asked: wait some seconds before the next try.
pet_status pet_driver_fetch_model(const struct pet_driver *driver,
                                  uint64_t timeout_ms,
                                  struct pet_model **model);

// The next news: what became of local models and of rounds. `taken` is set to whether there is any.
pet_status pet_driver_next_news(const struct pet_driver *driver, struct pet_news *news, bool *taken);

// The next line for a log. `taken` is set to whether there is any. A participant that nobody listens to keeps the last 64.
// Those of its end are there after `pet_driver_stop`, too.
pet_status pet_driver_next_notice(const struct pet_driver *driver,
                                  struct pet_notice *notice,
                                  bool *taken);

// Ends all work, and puts the state into the state file if there is one; if that fails, call it again once it can be written.
// Calls that wait come back with `PET_ERROR_STOPPED`.
// The driver is still to be freed. `state` may be null; otherwise it is set to the state, which may go on elsewhere.
pet_status pet_driver_stop(const struct pet_driver *driver,
                           struct pet_buffer **state);

// Ends all work, if it goes on, without saving anything, and frees the driver. No other thread may be in a call with it. A null
// pointer is nothing to free.
void pet_driver_free(struct pet_driver *driver);

// Does all that is left, on this thread.
pet_status pet_job_run(struct pet_job *job);

// Does the next piece, which takes about a millisecond; `done` is set to whether nothing is left. For event loops that have
// one thread.
pet_status pet_job_step(struct pet_job *job,
                        bool *done);

// How far it is, from 0 to 1.
pet_status pet_job_progress(const struct pet_job *job, double *fraction);

// Frees it, finished or not. A null pointer is nothing to free. A job that was handed in must not be freed.
void pet_job_free(struct pet_job *job);

// What it is: a `pet_output_kind`; `PET_OUTPUT_OTHER` for a null pointer.
pet_output_kind pet_output_kind_of(const struct pet_output *output);

// The request, of a `PET_OUTPUT_REQUEST`.
pet_status pet_output_request(const struct pet_output *output, struct pet_request *request);

// The id of the request that is not waited for any more, of a `PET_OUTPUT_CANCEL`.
pet_status pet_output_cancelled(const struct pet_output *output, uint64_t *id);

// Takes the job out of a `PET_OUTPUT_JOB`, once: it is the caller's from now on, to be run and handed in, or freed.
pet_status pet_output_take_job(struct pet_output *output, struct pet_job **job);

// The event, of a `PET_OUTPUT_EVENT`.
pet_status pet_output_event(const struct pet_output *output, struct pet_event *event);

// When to come back, of a `PET_OUTPUT_IDLE`.
pet_status pet_output_idle(const struct pet_output *output, struct pet_idle *idle);

// Frees it, and a job that was not taken out. A null pointer is nothing to free.
void pet_output_free(struct pet_output *output);

// A new participant, of whose keys and random numbers all follow from the seed: 32 bytes that nobody can guess and no other
// participant has. With a null pointer the system's random bytes are taken. `settings` may be null.
pet_status pet_participant_new(const uint8_t *seed,
                               const struct pet_settings *config,
                               struct pet_participant **participant);

// A participant that goes on where it was when it was saved. `settings` may be null.
pet_status pet_participant_restore(const uint8_t *state,
                                   size_t length,
                                   const struct pet_settings *config,
                                   struct pet_participant **participant);

// Frees it, and wipes its keys. A null pointer is nothing to free.
void pet_participant_free(struct pet_participant *participant);

// Tells it what has happened; then `pet_participant_poll_output` is to be called until it is idle. `now_ms` are milliseconds
// of a clock that does not go back, whatever it counts from.
pet_status pet_participant_handle_input(const struct pet_participant *participant,
                                        uint64_t now_ms,
                                        const struct pet_input *input);

// Says what should happen next. Call it until it gives `PET_OUTPUT_IDLE`, and free each output.
pet_status pet_participant_poll_output(const struct pet_participant *participant, struct pet_output **output);

// Whether it waits for a local model.
pet_status pet_participant_needs_model(const struct pet_participant *participant, bool *needs);

// Its public key: 32 bytes.
pet_status pet_participant_public_key(const struct pet_participant *participant, uint8_t *key);

// All that is needed to go on later, at any time: see `pet_participant_restore`.
pet_status pet_participant_save(const struct pet_participant *participant, struct pet_buffer **state);

// The defaults. Free them with `pet_settings_free` when everything is made that is made with them.
pet_status pet_settings_new(struct pet_settings **settings);

// Frees them. A null pointer is nothing to free.
void pet_settings_free(struct pet_settings *settings);

// How much this participant's models count: the global model is the mean of all, weighted with these. Not negative.
pet_status pet_settings_set_scalar(struct pet_settings *settings, double scalar);

// The same, as a fraction that is exact: `numerator / denominator`.
pet_status pet_settings_set_scalar_ratio(struct pet_settings *settings, uint64_t numerator, uint64_t denominator);

// The most bytes that a message may have before it is sent in parts.
pet_status pet_settings_set_max_message_size(struct pet_settings *settings, size_t bytes);

// The most weights that models may have; in rounds of longer ones this participant takes no part.
pet_status pet_settings_set_max_model_length(struct pet_settings *settings, uint64_t weights);

// Whether a local model that was set in one round and not used is kept for a later one (it is, unless told otherwise).
pet_status pet_settings_set_keep_models(struct pet_settings *settings, bool keep);

// The pauses between two looks at the coordinator, in milliseconds: after progress; the first without progress; by what each
// further one is longer, at least 1; and the longest.
pet_status pet_settings_set_polling(struct pet_settings *settings,
                                    uint64_t after_progress_ms,
                                    uint64_t initial_ms,
                                    double factor,
                                    uint64_t max_ms);

// Why the last call of this thread did not succeed, and what to do about it, in one line of UTF-8; empty if it did. It is
// there until the next call of this thread; the `pet_*_free` leave it alone.
const char *pet_error_text(void);

// The name of a status, such as `PET_ERROR_MODEL`; it is never freed.
const char *pet_status_name(int32_t status);

// The version of the interface that this library has, as `PET_HEADER_VERSION` is that of the header.
uint32_t pet_version(void);

// Whether a program that was compiled with a header of this version (`PET_HEADER_VERSION`) runs with this library. Ask before
// anything else.
bool pet_is_compatible(uint32_t header_version);

// The version of this library, such as `0.1.0`; it is never freed.
const char *pet_library_version(void);

// Its weights, which are there until it is freed.
pet_status pet_model_weights(const struct pet_model *model, struct pet_weights *weights);

// Frees it. A null pointer is nothing to free.
void pet_model_free(struct pet_model *model);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PET_H */
