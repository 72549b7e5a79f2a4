// What transformers writes into every config.json, whatever the family.
#include "oracle/model/config_fields.hpp"

namespace shardproof {
namespace {

// Provenance, tokens, tasks, and the choice among implementations of the same maths.
void accept_labels(ConfigFields& fields) {
    fields.accept({"_name_or_path",
                   "name_or_path",
                   "_commit_hash",
                   "transformers_version",
                   "tokenizer_class",
                   "prefix",
                   "bos_token_id",
                   "eos_token_id",
                   "pad_token_id",
                   "sep_token_id",
                   "unk_token_id",
                   "decoder_start_token_id",
                   "task_specific_params",
                   "problem_type",
                   "finetuning_task",
                   "id2label",
                   "label2id",
                   "num_labels",
                   "unsloth_fixed",
                   "unsloth_version"});
    fields.accept({"attn_implementation", "_attn_implementation", "_attn_implementation_autoset",
                   "_attn_implementation_internal", "experts_implementation", "_experts_implementation",
                   "_experts_implementation_internal", "torchscript", "use_bfloat16", "tf_legacy_loss", "use_cache",
                   "return_dict", "output_hidden_states", "output_attentions", "tie_last_hidden_states"});
    // Of training alone.
    fields.accept({"initializer_range", "attention_dropout", "gradient_checkpointing"});
}

// Older versions kept the parameters of generation here.
void accept_generation(ConfigFields& fields) {
    fields.accept({"max_length",
                   "min_length",
                   "do_sample",
                   "early_stopping",
                   "num_beams",
                   "num_beam_groups",
                   "diversity_penalty",
                   "temperature",
                   "top_k",
                   "top_p",
                   "typical_p",
                   "repetition_penalty",
                   "length_penalty",
                   "no_repeat_ngram_size",
                   "encoder_no_repeat_ngram_size",
                   "bad_words_ids",
                   "num_return_sequences",
                   "output_scores",
                   "return_dict_in_generate",
                   "forced_bos_token_id",
                   "forced_eos_token_id",
                   "remove_invalid_values",
                   "exponential_decay_length_penalty",
                   "suppress_tokens",
                   "begin_suppress_tokens",
                   "epsilon_cutoff",
                   "eta_cutoff",
                   "encoder_repetition_penalty",
                   "num_assistant_tokens",
                   "num_assistant_tokens_schedule",
                   "assistant_confidence_threshold",
                   "assistant_lookbehind",
                   "target_lookbehind"});
}

}  // namespace

void accept_generic_fields(ConfigFields& fields) {
    accept_labels(fields);
    accept_generation(fields);
    fields.accept_only("is_decoder", {"false", "true"});  // a decoder-only model is one either way
    fields.accept_only("is_encoder_decoder", {"false"});
    fields.accept_only("add_cross_attention", {"false"});
    fields.accept_only("cross_attention_hidden_size", {"null"});
    fields.accept_only("tie_encoder_decoder", {"false"});
    fields.accept_only("pruned_heads", {"{}", "null"});
    fields.accept_only("chunk_size_feed_forward", {"0"});
    fields.accept_only("quantization_config", {"null"});
    fields.accept_only("compression_config", {"null"});
    fields.accept_only("per_layer_config", {"null"});
    fields.accept_only("auto_map", {"null"});  // names code of its own
}

}  // namespace shardproof
