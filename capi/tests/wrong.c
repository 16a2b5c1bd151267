/* Calls that are wrong: each is answered with a code and a text, and leaves things as they were. */
#include <pet.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

static void expect(pet_status status, pet_status wanted, const char *text, int line) {
    const char *told = pet_error_text();
    if (status != wanted || strstr(told, text) == NULL || (wanted == PET_OK) != (told[0] == 0)) {
        fprintf(stderr, "line %d: %s instead of %s: %s\n", line, pet_status_name(status), pet_status_name(wanted), told);
        exit(1);
    }
}
#define EXPECT(call, wanted, text) expect((call), (wanted), (text), __LINE__)
#define CHECK(condition)                                        \
    do {                                                        \
        if (!(condition)) {                                     \
            fprintf(stderr, "line %d: " #condition "\n", __LINE__); \
            exit(1);                                            \
        }                                                       \
    } while (0)

/* No request: their ids begin with 0. */
#define NONE UINT64_MAX

/* What was last asked for. */
static char target[512];

/* Polls until it is idle; gives the first job, if there is one. */
static pet_job *drain(pet_participant *participant, uint64_t *request) {
    pet_job *job = NULL;
    for (;;) {
        pet_output *output = NULL;
        EXPECT(pet_participant_poll_output(participant, &output), PET_OK, "");
        pet_output_kind kind = pet_output_kind_of(output);
        pet_request asked;
        pet_idle idle;
        uint64_t id;
        if (kind == PET_OUTPUT_REQUEST) {
            EXPECT(pet_output_request(output, &asked), PET_OK, "");
            CHECK(asked.body == NULL && asked.body_length == 0 && asked.target[0] == '/' && asked.answer_ms > 0);
            if (request != NULL) *request = asked.id;
            snprintf(target, sizeof target, "%s", asked.target);
        } else {
            EXPECT(pet_output_request(output, &asked), PET_ERROR_ARGUMENT, "no request");
        }
        if (kind == PET_OUTPUT_JOB && job == NULL) {
            EXPECT(pet_output_take_job(output, &job), PET_OK, "");
            pet_job *again;
            EXPECT(pet_output_take_job(output, &again), PET_ERROR_ARGUMENT, "taken already");
        }
        if (kind != PET_OUTPUT_CANCEL) EXPECT(pet_output_cancelled(output, &id), PET_ERROR_ARGUMENT, "no cancel");
        if (kind == PET_OUTPUT_IDLE) {
            EXPECT(pet_output_idle(output, &idle), PET_OK, "");
            pet_output_free(output);
            return job;
        }
        EXPECT(pet_output_idle(output, &idle), PET_ERROR_ARGUMENT, "no idle");
        pet_output_free(output);
    }
}

/* The parameters of a round in which everyone updates models of four weights: they are in the file that is named. */
static uint8_t parameters[1024];
static size_t parameters_length;

/* The first job of a participant in that round. */
static pet_job *first_job(pet_participant *participant) {
    static const float weights[4] = {0.5f, 0.25f, -0.5f, 0};
    static const uint8_t nobody[8]; /* a dictionary of those who sum */
    pet_input set = {.kind = PET_INPUT_SET_MODEL};
    set.weights = (pet_weights){.data = weights, .length = 4, .data_type = PET_DATA_TYPE_F32};
    EXPECT(pet_participant_handle_input(participant, 0, &set), PET_OK, "");
    uint64_t request = NONE;
    for (uint64_t now = 0; now < 100; now++) {
        pet_input input = {.kind = PET_INPUT_TICK};
        if (request != NONE) {
            input = (pet_input){.kind = PET_INPUT_RESPONSE, .id = request, .status = 200};
            bool is_round = strcmp(target, "/params") == 0;
            input.body = is_round ? parameters : nobody;
            input.body_length = is_round ? parameters_length : sizeof nobody;
            request = NONE;
        }
        EXPECT(pet_participant_handle_input(participant, now * 10000, &input), PET_OK, "");
        pet_job *job = drain(participant, &request);
        if (job != NULL) return job;
    }
    CHECK(!"there is a job");
    return NULL;
}

/* Another thread's error text is its own. */
static void *other_thread(void *unused) {
    (void)unused;
    pet_settings *settings = NULL;
    EXPECT(pet_settings_new(&settings), PET_OK, "");
    EXPECT(pet_settings_set_scalar(settings, -1), PET_ERROR_CONFIG, "scalar");
    pet_settings_free(settings);
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    FILE *file = fopen(argv[1], "rb");
    CHECK(file != NULL);
    parameters_length = fread(parameters, 1, sizeof parameters, file);
    CHECK(parameters_length > 0 && fclose(file) == 0);

    CHECK(pet_is_compatible(PET_HEADER_VERSION) && !pet_is_compatible(PET_HEADER_VERSION + (1u << 16)));
    CHECK(pet_version() == PET_HEADER_VERSION && pet_library_version()[0] != 0);
    CHECK(strcmp(pet_status_name(999), "unknown") == 0);

    /* Null pointers, to take from and to write to. */
    pet_input tick = {.kind = PET_INPUT_TICK};
    EXPECT(pet_settings_new(NULL), PET_ERROR_ARGUMENT, "settings is a null pointer");
    EXPECT(pet_participant_new(NULL, NULL, NULL), PET_ERROR_ARGUMENT, "participant is a null pointer");
    EXPECT(pet_participant_handle_input(NULL, 0, &tick), PET_ERROR_ARGUMENT, "participant is a null pointer");
    EXPECT(pet_participant_poll_output(NULL, NULL), PET_ERROR_ARGUMENT, "null pointer");
    EXPECT(pet_participant_save(NULL, NULL), PET_ERROR_ARGUMENT, "null pointer");
    EXPECT(pet_job_run(NULL), PET_ERROR_ARGUMENT, "job is a null pointer");
    EXPECT(pet_driver_start(NULL, NULL), PET_ERROR_ARGUMENT, "null pointer");
    EXPECT(pet_driver_stop(NULL, NULL), PET_ERROR_ARGUMENT, "null pointer");
    EXPECT(pet_model_weights(NULL, NULL), PET_ERROR_ARGUMENT, "null pointer");
    CHECK(pet_output_kind_of(NULL) == PET_OUTPUT_OTHER);

    /* Nothing is freed for null pointers. */
    pet_settings_free(NULL);
    pet_config_free(NULL);
    pet_participant_free(NULL);
    pet_output_free(NULL);
    pet_job_free(NULL);
    pet_buffer_free(NULL);
    pet_model_free(NULL);
    pet_driver_free(NULL);

    /* Settings. */
    pet_settings *settings;
    EXPECT(pet_settings_new(&settings), PET_OK, "");
    EXPECT(pet_settings_set_scalar(settings, -0.5), PET_ERROR_CONFIG, "-0.5");
    EXPECT(pet_settings_set_scalar_ratio(settings, 1, 0), PET_ERROR_CONFIG, "1/0");
    EXPECT(pet_settings_set_max_message_size(settings, 1), PET_ERROR_CONFIG, "");
    EXPECT(pet_settings_set_polling(settings, 1, 1, 0.5, 1), PET_ERROR_CONFIG, "0.5");
    EXPECT(pet_settings_set_scalar_ratio(settings, 1, 3), PET_OK, "");
    EXPECT(pet_settings_set_polling(settings, 10, 10, 1.5, 1000), PET_OK, "");

    /* Addresses and certificates. */
    pet_config *config = NULL;
    EXPECT(pet_config_new("ftp://nowhere", settings, &config), PET_ERROR_CONFIG, "http://");
    EXPECT(pet_config_new("\xff", settings, &config), PET_ERROR_ARGUMENT, "UTF-8");
    CHECK(config == NULL);
    EXPECT(pet_config_new("http://127.0.0.1:1", settings, &config), PET_OK, "");
    EXPECT(pet_config_set_threads(config, 0), PET_ERROR_CONFIG, "one thread");
    EXPECT(pet_config_set_authorities(config, (const uint8_t *)"none", 4), PET_ERROR_CONFIG, "CERTIFICATE");
    EXPECT(pet_config_set_authorities(config, NULL, 4), PET_ERROR_ARGUMENT, "null pointer");

    /* A machine, and inputs that mean nothing. */
    uint8_t seed[32] = {7};
    pet_participant *participant, *same;
    EXPECT(pet_participant_new(seed, settings, &participant), PET_OK, "");
    EXPECT(pet_participant_new(seed, settings, &same), PET_OK, "");
    uint8_t key[32], same_key[32];
    EXPECT(pet_participant_public_key(participant, key), PET_OK, "");
    EXPECT(pet_participant_public_key(same, same_key), PET_OK, "");
    CHECK(memcmp(key, same_key, sizeof key) == 0);
    pet_participant_free(same);
    pet_input input = {.kind = 999};
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_ERROR_ARGUMENT, "input.kind is 999");
    input = (pet_input){.kind = PET_INPUT_RESPONSE, .id = 12345, .status = 200};
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_ERROR_LATE, "not being waited for");
    input = (pet_input){.kind = PET_INPUT_RESPONSE, .id = 1, .status = 200, .body_length = 5};
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_ERROR_ARGUMENT, "input.body is a null pointer");
    input = (pet_input){.kind = PET_INPUT_FAULT, .fault = 7};
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_ERROR_ARGUMENT, "input.fault is 7");
    input = (pet_input){.kind = PET_INPUT_JOB_DONE};
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_ERROR_ARGUMENT, "input.job is a null pointer");
    double weights[3] = {0.5, 0.25, -0.5};
    input = (pet_input){.kind = PET_INPUT_SET_MODEL, .weights = {.data = weights, .length = 3, .data_type = 9}};
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_ERROR_ARGUMENT, "weights.data_type is 9");
    input.weights = (pet_weights){.data = NULL, .length = 3, .data_type = PET_DATA_TYPE_F64};
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_ERROR_ARGUMENT, "weights.data is a null pointer");
    input.weights.data = (const char *)weights + 1;
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_ERROR_ARGUMENT, "aligned");
    input.weights.data = weights;
    input.weights.length = SIZE_MAX / 2;
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_ERROR_ARGUMENT, "cannot have");
    double infinite[1] = {1e308 * 10};
    input.weights = (pet_weights){.data = infinite, .length = 1, .data_type = PET_DATA_TYPE_F64};
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_ERROR_MODEL, "finite");
    input.weights = (pet_weights){.data = weights, .length = 3, .data_type = PET_DATA_TYPE_F64};
    EXPECT(pet_participant_handle_input(participant, 0, &input), PET_OK, "");

    /* It asks for the round; an answer that is none is a trouble, not an error. */
    uint64_t request = NONE;
    CHECK(drain(participant, &request) == NULL && request != NONE);
    input = (pet_input){.kind = PET_INPUT_RESPONSE, .id = request, .status = 200, .body = seed, .body_length = 3};
    EXPECT(pet_participant_handle_input(participant, 2, &input), PET_OK, "");
    EXPECT(pet_participant_handle_input(participant, 2, &input), PET_ERROR_LATE, "not being waited for");
    CHECK(drain(participant, NULL) == NULL);
    bool needs = true;
    EXPECT(pet_participant_needs_model(participant, &needs), PET_OK, "");
    CHECK(!needs);

    /* Saved, restored, damaged. */
    pet_buffer *state;
    const uint8_t *bytes;
    size_t length;
    EXPECT(pet_participant_save(participant, &state), PET_OK, "");
    EXPECT(pet_buffer_bytes(state, &bytes, &length), PET_OK, "");
    EXPECT(pet_participant_restore(bytes, length, settings, &same), PET_OK, "");
    EXPECT(pet_participant_public_key(same, same_key), PET_OK, "");
    CHECK(memcmp(key, same_key, sizeof key) == 0);
    pet_participant_free(same);
    same = NULL;
    EXPECT(pet_participant_restore(bytes, length / 2, settings, &same), PET_ERROR_STATE, "");
    EXPECT(pet_participant_restore(seed, sizeof seed, settings, &same), PET_ERROR_STATE, "");
    EXPECT(pet_participant_restore(NULL, 0, settings, &same), PET_ERROR_STATE, "");
    CHECK(same == NULL);
    pet_buffer_free(state);

    /* Stopped. */
    input = (pet_input){.kind = PET_INPUT_STOP};
    EXPECT(pet_participant_handle_input(participant, 3, &input), PET_OK, "");
    EXPECT(pet_participant_handle_input(participant, 3, &tick), PET_ERROR_STOPPED, "was stopped");
    pet_participant_free(participant);

    /* A job of another one with the same numbers, and one that is not finished: they stay whose they are. */
    pet_participant *one, *other;
    EXPECT(pet_participant_new(NULL, settings, &one), PET_OK, "");
    EXPECT(pet_participant_new(NULL, settings, &other), PET_OK, "");
    pet_job *job = first_job(one), *others = first_job(other);
    input = (pet_input){.kind = PET_INPUT_JOB_DONE, .job = job};
    EXPECT(pet_participant_handle_input(one, 2000000, &input), PET_ERROR_ARGUMENT, "not finished");
    EXPECT(pet_job_run(job), PET_OK, "");
    EXPECT(pet_participant_handle_input(other, 2000000, &input), PET_ERROR_ARGUMENT, "another participant");
    EXPECT(pet_participant_handle_input(one, 2000000, &input), PET_OK, "");
    pet_job_free(others);
    pet_participant_free(one);
    pet_participant_free(other);

    /* What the network says need not be UTF-8. */
    EXPECT(pet_participant_new(NULL, settings, &one), PET_OK, "");
    request = NONE;
    CHECK(drain(one, &request) == NULL && request != NONE);
    input = (pet_input){.kind = PET_INPUT_RESPONSE, .id = request, .status = 503, .content_type = "\xff", .retry_after = "\xfe"};
    EXPECT(pet_participant_handle_input(one, 9000, &input), PET_OK, "");
    pet_participant_free(one);

    /* Freeing something leaves the text alone. */
    EXPECT(pet_job_run(NULL), PET_ERROR_ARGUMENT, "job");
    pet_output_free(NULL);
    CHECK(strstr(pet_error_text(), "job") != NULL);

    /* All that was freed so far is freed. From here on there are threads, which may have memory of their own at the end. */
#ifdef __SANITIZE_ADDRESS__
    __lsan_do_leak_check();
#endif

    /* A state that cannot be written is not lost. */
    EXPECT(pet_config_set_state_file(config, "/nowhere/at/all/site.state"), PET_OK, "");
    pet_driver *driver;
    EXPECT(pet_driver_start(config, &driver), PET_OK, "");
    EXPECT(pet_driver_stop(driver, NULL), PET_ERROR_SYSTEM, "/nowhere/at/all/site.state");
    EXPECT(pet_driver_stop(driver, NULL), PET_ERROR_SYSTEM, "call pet_driver_stop again");
    pet_driver_free(driver);
    pet_config_free(config);

    /* One that is given goes on elsewhere. */
    EXPECT(pet_config_new("http://127.0.0.1:1", settings, &config), PET_OK, "");
    EXPECT(pet_config_set_state(config, seed, sizeof seed), PET_OK, "");
    EXPECT(pet_driver_start(config, &driver), PET_ERROR_STATE, "");
    EXPECT(pet_participant_new(seed, settings, &one), PET_OK, "");
    EXPECT(pet_participant_save(one, &state), PET_OK, "");
    EXPECT(pet_buffer_bytes(state, &bytes, &length), PET_OK, "");
    EXPECT(pet_config_set_state(config, bytes, length), PET_OK, "");
    pet_buffer_free(state);
    pet_participant_free(one);

    /* A driver of a coordinator that is not there. */
    EXPECT(pet_driver_start(config, &driver), PET_OK, "");
    EXPECT(pet_driver_public_key(driver, same_key), PET_OK, "");
    CHECK(memcmp(key, same_key, sizeof key) == 0);
    pet_config_free(config);
    pet_settings_free(settings);
    pet_view view = {0};
    bool taken = false;
    pet_notice notice = {0};
    for (int i = 0; i < 100 && !taken; i++) {
        EXPECT(pet_driver_wait(driver, view.happened, 1000, &view), PET_OK, "");
        EXPECT(pet_driver_next_notice(driver, &notice, &taken), PET_OK, "");
    }
    CHECK(taken && strstr(notice.text, "cannot be reached") != NULL);
    pet_model *model = NULL;
    pet_status status = pet_driver_fetch_model(driver, 1, &model);
    CHECK((status == PET_ERROR_TIMEOUT || status == PET_ERROR_COORDINATOR) && model == NULL);
    pet_weights three = {.data = weights, .length = 3, .data_type = PET_DATA_TYPE_F64};
    EXPECT(pet_driver_set_model_for(driver, 5, &three), PET_ERROR_LATE, "over");
    EXPECT(pet_driver_set_model(driver, &three), PET_OK, "");
    pet_news news;
    EXPECT(pet_driver_next_news(driver, &news, &taken), PET_OK, "");
    EXPECT(pet_driver_stop(driver, &state), PET_OK, "");
    pet_buffer_free(state);
    EXPECT(pet_driver_stop(driver, NULL), PET_ERROR_STOPPED, "stopped");
    EXPECT(pet_driver_wait(driver, 0, 1000, &view), PET_ERROR_STOPPED, "stopped");
    EXPECT(pet_driver_next_notice(driver, &notice, &taken), PET_OK, "");
    pet_driver_free(driver);

    /* Each thread has a text of its own. */
    EXPECT(pet_job_run(NULL), PET_ERROR_ARGUMENT, "job");
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(strstr(pet_error_text(), "job") != NULL);
    printf("all wrong calls were answered\n");
    fflush(stdout);
    _exit(0); /* without looking for leaks once more */
}
