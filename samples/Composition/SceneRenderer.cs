using MLNetMultimodal.Media.Images;
using SkiaSharp;

/// <summary>Draws scenes: objects on a background that is neither even nor clean.</summary>
static class SceneRenderer
{
    /// <summary>The picture of a scene, the same each time.</summary>
    public static RgbImage Draw(Scene scene)
    {
        byte[] rgba = DrawRgba(scene);
        return new(World.Edge, World.Edge, [.. rgba.Where((_, i) => i % 4 < 3)]);
    }

    /// <summary>Likewise, four bytes a pixel.</summary>
    public static byte[] DrawRgba(Scene scene)
    {
        var random = new Random(scene.Seed);
        const int edge = World.Edge;
        using var bitmap = new SKBitmap(edge, edge, SKColorType.Rgba8888, SKAlphaType.Opaque);
        using var canvas = new SKCanvas(bitmap);
        float turn = random.NextSingle() * MathF.Tau;
        using (var shader = SKShader.CreateLinearGradient(new(edge / 2 * (1 + MathF.Cos(turn)), edge / 2 * (1 + MathF.Sin(turn))),
            new(edge / 2 * (1 - MathF.Cos(turn)), edge / 2 * (1 - MathF.Sin(turn))), [Gray(random), Gray(random)], SKShaderTileMode.Clamp))
        using (var background = new SKPaint { Shader = shader })
            canvas.DrawRect(0, 0, edge, edge, background);
        foreach (Thing thing in scene.Things) Draw(canvas, thing, random);
        canvas.Flush();
        byte[] rgba = bitmap.GetPixelSpan().ToArray();
        double noise = 4 + 10 * random.NextDouble();
        for (int i = 0; i < rgba.Length; i++)
            if (i % 4 < 3) rgba[i] = (byte)Math.Clamp(rgba[i] + noise * (random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) * 2, 0, 255);
        return rgba;
    }

    // Light or dark, hardly coloured.
    static SKColor Gray(Random random)
    {
        int level = random.Next(2) == 0 ? random.Next(20, 80) : random.Next(170, 245);
        return new((byte)(level + random.Next(-10, 11)), (byte)(level + random.Next(-10, 11)), (byte)(level + random.Next(-10, 11)));
    }

    static void Draw(SKCanvas canvas, Thing thing, Random random)
    {
        var (_, r, g, b) = World.Colors[thing.Kind.Color];
        byte Vary(byte value) => (byte)Math.Clamp(value + random.Next(-14, 15), 0, 255);
        using var paint = new SKPaint { IsAntialias = true, Color = new(Vary(r), Vary(g), Vary(b)) };
        float x = thing.X, y = thing.Y, radius = thing.Radius;
        switch (World.Shapes[thing.Kind.Shape])
        {
            case "circle":
                canvas.DrawCircle(x, y, radius, paint);
                break;
            case "square":
                canvas.DrawRect(x - 0.88f * radius, y - 0.88f * radius, 1.76f * radius, 1.76f * radius, paint);
                break;
            case "ring":
                (paint.Style, paint.StrokeWidth) = (SKPaintStyle.Stroke, 0.38f * radius);
                canvas.DrawCircle(x, y, 0.8f * radius, paint);
                break;
            case "cross":
                canvas.DrawRect(x - radius, y - 0.3f * radius, 2 * radius, 0.6f * radius, paint);
                canvas.DrawRect(x - 0.3f * radius, y - radius, 0.6f * radius, 2 * radius, paint);
                break;
            case "triangle":
                Polygon(canvas, paint, x, y, [.. Enumerable.Range(0, 3).Select(_ => radius)]);
                break;
            default:
                Polygon(canvas, paint, x, y, [.. Enumerable.Range(0, 10).Select(i => i % 2 == 0 ? radius : 0.42f * radius)]);
                break;
        }
    }

    // Corners around the centre, the first at the top.
    static void Polygon(SKCanvas canvas, SKPaint paint, float x, float y, float[] radii)
    {
        using var path = new SKPath();
        path.AddPoly([.. radii.Select((r, i) => MathF.Tau * i / radii.Length is var a
            ? new SKPoint(x + r * MathF.Sin(a), y - r * MathF.Cos(a)) : default)], close: true);
        canvas.DrawPath(path, paint);
    }
}
