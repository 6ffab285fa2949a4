using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace MLNetMultimodal.Media.Text;

// Hugging Face's tokenizer.json, laid out as the published CLIP models', and its small tokenizer_config.json.
static class TokenizerWriter
{
    const string Begin = TokenizerDefinition.DefaultBegin, End = TokenizerDefinition.DefaultEnd;

    public static Dictionary<string, ReadOnlyMemory<byte>> Write(IReadOnlyList<string> tokens,
        IReadOnlyList<(string Left, string Right)> merges, BpeTrainingOptions options)
    {
        var files = new Dictionary<string, ReadOnlyMemory<byte>>();
        files[TokenizerDefinition.TokenizerJson] = Json(json => WriteTokenizer(json, tokens, merges, options.Lowercase));
        files[TokenizerDefinition.Config] = Json(json => WriteConfig(json, options));
        return files;
    }

    static void WriteTokenizer(Utf8JsonWriter json, IReadOnlyList<string> tokens,
        IReadOnlyList<(string Left, string Right)> merges, bool lowercase)
    {
        int beginId = tokens.Count, endId = tokens.Count + 1;
        json.WriteString("version", "1.0");
        json.WriteNull("truncation");
        json.WriteNull("padding");
        json.WriteStartArray("added_tokens");
        WriteAddedToken(json, Begin, beginId);
        WriteAddedToken(json, End, endId);
        json.WriteEndArray();
        string lowercaseStep = lowercase ? """,{"type":"Lowercase"}""" : "";
        WriteRaw(json, "normalizer", $$"""
            {"type":"Sequence","normalizers":[
                {"type":"NFC"},
                {"type":"Replace","pattern":{"Regex":"\\s+"},"content":" "}{{lowercaseStep}}]}
            """);
        string pattern = JsonSerializer.Serialize(TokenizerDefinition.SplitPattern);
        WriteRaw(json, "pre_tokenizer", $$"""
            {"type":"Sequence","pretokenizers":[
                {"type":"Split","pattern":{"Regex":{{pattern}}},"behavior":"Removed","invert":true},
                {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true}]}
            """);
        WriteRaw(json, "post_processor", $$"""
            {"type":"RobertaProcessing","sep":["{{End}}",{{endId}}],"cls":["{{Begin}}",{{beginId}}],
                "trim_offsets":false,"add_prefix_space":false}
            """);
        WriteRaw(json, "decoder", """{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true}""");
        WriteModel(json, tokens, merges);
    }

    static void WriteAddedToken(Utf8JsonWriter json, string token, int id)
    {
        json.WriteStartObject();
        json.WriteNumber("id", id);
        json.WriteString("content", token);
        json.WriteBoolean("single_word", false);
        json.WriteBoolean("lstrip", false);
        json.WriteBoolean("rstrip", false);
        json.WriteBoolean("normalized", true);
        json.WriteBoolean("special", true);
        json.WriteEndObject();
    }

    static void WriteModel(Utf8JsonWriter json, IReadOnlyList<string> tokens, IReadOnlyList<(string Left, string Right)> merges)
    {
        json.WriteStartObject("model");
        json.WriteString("type", "BPE");
        json.WriteNull("dropout");
        json.WriteString("unk_token", End);
        json.WriteString("continuing_subword_prefix", "");
        json.WriteString("end_of_word_suffix", TokenizerDefinition.WordEnd);
        json.WriteBoolean("fuse_unk", false);
        json.WriteStartObject("vocab");
        for (int id = 0; id < tokens.Count; id++)
            json.WriteNumber(tokens[id], id);
        json.WriteNumber(Begin, tokens.Count);
        json.WriteNumber(End, tokens.Count + 1);
        json.WriteEndObject();
        json.WriteStartArray("merges");
        foreach ((string left, string right) in merges)
            json.WriteStringValue($"{left} {right}");
        json.WriteEndArray();
        json.WriteEndObject();
    }

    static void WriteConfig(Utf8JsonWriter json, BpeTrainingOptions options)
    {
        json.WriteString("tokenizer_class", "CLIPTokenizer");
        json.WriteNumber("model_max_length", options.ContextLength);
        json.WriteBoolean("do_lower_case", options.Lowercase);
        json.WriteString("bos_token", Begin);
        json.WriteString("eos_token", End);
        json.WriteString("unk_token", End);
        json.WriteString("pad_token", End);
    }

    static ReadOnlyMemory<byte> Json(Action<Utf8JsonWriter> writeProperties)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer,
            new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            writeProperties(json);
            json.WriteEndObject();
        }
        buffer.Write("\n"u8);
        return buffer.WrittenMemory.ToArray();
    }

    static void WriteRaw(Utf8JsonWriter json, string name, string value)
    {
        json.WritePropertyName(name);
        using JsonDocument document = JsonDocument.Parse(value);
        document.RootElement.WriteTo(json);
    }
}
